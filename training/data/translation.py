"""Translation of short sentences between English, Japanese and Chinese, over a closed vocabulary.

A sentence belongs to one side of the split, whatever the phrasing and the direction: held-out sentences are never seen
in training, in any language. The thinking names the words.
"""

import random

from training.data.problem import Problem, phrases

Words = dict[str, str]
LANGUAGES = ("en", "ja", "zh")


def _table(text: str, *names: str) -> list[Words]:
    return [dict(zip(names, line.split("|"), strict=True)) for line in text.strip().splitlines()]


#: Things: English (with its article), plural, Japanese, Chinese, Chinese measure word, and 0 a thing, 1 an animal, 2 a
#: person. An adjective is said of these up to its own number.
NOUNS = _table(
    """a cat|cats|猫|猫|只|1
a dog|dogs|犬|狗|只|1
a bird|birds|鳥|鸟|只|1
a horse|horses|馬|马|匹|1
a fish|fish|魚|鱼|条|1
a child|children|子供|孩子|个|2
a teacher|teachers|先生|老师|位|2
a friend|friends|友達|朋友|个|2
a book|books|本|书|本|0
a car|cars|車|车|辆|0
a house|houses|家|房子|座|0
a flower|flowers|花|花|朵|0
a tree|trees|木|树|棵|0
a chair|chairs|椅子|椅子|把|0
a table|tables|テーブル|桌子|张|0
an apple|apples|りんご|苹果|个|0
an egg|eggs|卵|鸡蛋|个|0
a hat|hats|帽子|帽子|顶|0
a letter|letters|手紙|信|封|0
a picture|pictures|絵|画|幅|0
a clock|clocks|時計|钟|个|0
a bag|bags|かばん|包|个|0
an umbrella|umbrellas|傘|伞|把|0
a shoe|shoes|靴|鞋|只|0
a cup|cups|カップ|杯子|个|0
a window|windows|窓|窗户|扇|0""",
    "en", "many", "ja", "zh", "measure", "alive",
)  # fmt: skip
ADJECTIVES = _table(
    """red|赤い|红色的|1
blue|青い|蓝色的|1
white|白い|白色的|1
black|黒い|黑色的|1
big|大きい|大的|2
small|小さい|小的|2
new|新しい|新的|0
old|古い|旧的|0
beautiful|美しい|美丽的|2
good|いい|好的|2
expensive|高い|贵的|0
cheap|安い|便宜的|0""",
    "en", "ja", "zh", "of",
)  # fmt: skip
PEOPLE = _table(
    """I|私|我|have|like|want|see
you|あなた|你|have|like|want|see
we|私たち|我们|have|like|want|see
they|彼ら|他们|have|like|want|see
he|彼|他|has|likes|wants|sees
she|彼女|她|has|likes|wants|sees
my mother|母|我妈妈|has|likes|wants|sees
my father|父|我爸爸|has|likes|wants|sees""",
    "en", "ja", "zh", "have", "like", "want", "see",
)  # fmt: skip
PLACES = _table(
    """in the garden|庭|花园里
in the room|部屋|房间里
at school|学校|学校里
in the park|公園|公园里
in the city|街|城市里
in the kitchen|台所|厨房里
in the shop|店|商店里""",
    "en", "ja", "zh",
)  # fmt: skip

ASK = {
    "en": phrases(
        """
        Translate to {l}: {s} | Translate into {l}: {s} | Translate “{s}” into {l}. | How do you say “{s}” in {l}? |
        What is “{s}” in {l}? | Please translate to {l}: {s} | {s} in {l}?
        """
    ),
    "ja": ["{l}に訳してください：{s}", "「{s}」を{l}に訳して", "「{s}」は{l}で何と言いますか？", "{l}に翻訳：{s}"],
    "zh": ["翻译成{l}：{s}", "把“{s}”翻译成{l}。", "“{s}”用{l}怎么说？", "请译成{l}：{s}"],
}
NAMES = {
    "en": {"en": "English", "ja": "Japanese", "zh": "Chinese"},
    "ja": {"en": "英語", "ja": "日本語", "zh": "中国語"},
    "zh": {"en": "英语", "ja": "日语", "zh": "中文"},
}


def sentence(rng: random.Random) -> tuple[Words, list[Words]]:
    """(one sentence in the three languages, the words it is made of)."""
    noun, person, place = rng.choice(NOUNS), rng.choice(PEOPLE), rng.choice(PLACES)
    adjective = rng.choice([a for a in ADJECTIVES if a["of"] >= noun["alive"]])
    lives = noun["alive"] != "0"
    bare = noun["en"].split(" ", 1)[1]
    one = f"一{noun['measure']}{noun['zh']}"
    described = {**adjective, "en": f"{'an' if adjective['en'][0] in 'aeiou' else 'a'} {adjective['en']}"}
    there = {"ja": "います" if lives else "あります"}
    subject = person["en"][0].upper() + person["en"][1:]
    things = {"en": noun["many"], "ja": noun["ja"], "zh": noun["zh"]}
    form = rng.randrange(10)
    if form == 0:
        return _said(f"This is {noun['en']}.", f"これは{noun['ja']}です。", f"这是{one}。"), [noun]
    if form == 1:
        text = _said(f"The {bare} is {adjective['en']}.", f"{noun['ja']}は{adjective['ja']}です。", f"{noun['zh']}是{adjective['zh']}。")  # fmt: skip
        return text, [noun, adjective]
    if form == 2:
        text = _said(
            f"{subject} {person['like']} {noun['many']}.", f"{person['ja']}は{noun['ja']}が好きです。", f"{person['zh']}喜欢{noun['zh']}。"
        )  # fmt: skip
        return text, [person, things]
    if form == 3:
        wishes = "が欲しいです" if person["en"] in ("I", "you", "we") else "を欲しがっています"
        verb, ja, zh = rng.choice((("want", wishes, "想要"), ("see", "を見ます", "看见")))
        text = _said(f"{subject} {person[verb]} {noun['en']}.", f"{person['ja']}は{noun['ja']}{ja}。", f"{person['zh']}{zh}{one}。")  # fmt: skip
        return text, [person, noun]
    if form == 4:
        text = _said(f"There is {noun['en']} {place['en']}.", f"{place['ja']}に{noun['ja']}が{there['ja']}。", f"{place['zh']}有{one}。")  # fmt: skip
        return text, [noun, place]
    if form == 5:
        text = _said(f"Where is the {bare}?", f"{noun['ja']}はどこに{there['ja']}か？", f"{noun['zh']}在哪里？")
        return text, [noun]
    if form == 6:
        text = _said(
            f"{subject} {person['have']} {described['en']} {bare}.",
            f"{person['ja']}には{adjective['ja']}{noun['ja']}がいます。"
            if lives
            else f"{person['ja']}は{adjective['ja']}{noun['ja']}を持っています。",
            f"{person['zh']}有一{noun['measure']}{adjective['zh']}{noun['zh']}。",
        )
        return text, [person, adjective, noun]
    if form == 7:
        text = _said(
            f"{described['en']} {bare}", f"{adjective['ja']}{noun['ja']}", f"一{noun['measure']}{adjective['zh']}{noun['zh']}"
        )  # fmt: skip
        return text, [adjective, noun]
    if form == 8:
        other = rng.choice([n for n in NOUNS if n is not noun])
        text = _said(f"{noun['en']} and {other['en']}", f"{noun['ja']}と{other['ja']}", f"{one}和一{other['measure']}{other['zh']}")  # fmt: skip
        return text, [noun, other]
    text = _said(f"The {bare} is {place['en']}.", f"{noun['ja']}は{place['ja']}に{there['ja']}。", f"{noun['zh']}在{place['zh']}。")  # fmt: skip
    return text, [noun, place]


def translate(rng: random.Random, language: str) -> Problem:
    """The question's language is one of the pair, or (one time in five) any."""
    text, parts = sentence(rng)
    source, target = rng.sample(LANGUAGES, 2)
    if language not in (source, target) and rng.random() < 0.8:
        source, target = rng.choice([(language, target), (source, language)])
    prompt = rng.choice(ASK[language]).format(l=NAMES[language][target], s=text[source])
    thinking = ", ".join(f"{part[source]} = {part[target]}" for part in parts)
    return Problem(prompt, thinking, text[target], "translation", key_of(text), language)


def key_of(text: Words) -> str:
    """A sentence's key: two things in either order are one."""
    return "sentence:" + " and ".join(sorted(text["en"].split(" and ")))


def _said(en: str, ja: str, zh: str) -> Words:
    return {"en": en, "ja": ja, "zh": zh}
