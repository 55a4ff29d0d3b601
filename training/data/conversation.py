"""Small talk, honest words about itself, and friendly refusals.

Every answer is true of the bundled model. What is held out is the phrasing. The sentences are in `small_talk.txt` and
`refusals.txt`; the thinking of a conversation is one short sentence about what is being said.
"""

import random
from pathlib import Path

from training.data import arithmetic, facts, ordering
from training.data.problem import Problem, phrases, plain
from training.data.words import WORDS


def _sections(name: str) -> dict[str, tuple[dict[str, str], list[str]]]:
    """A text file's sections: `[title]`, then `key: value` lines, then phrasings separated by `|`."""
    found: dict[str, tuple[dict[str, str], list[str]]] = {}
    for part in Path(__file__).with_name(name).read_text(encoding="utf-8").split("\n[")[1:]:
        title, *lines = part.strip().split("\n")
        keys = [line.split(": ", 1) for line in lines if line.startswith(("thinks: ", "answers: ", "action: "))]
        found[title.rstrip("]")] = (dict(keys), phrases(" ".join(lines[len(keys) :])))
    return found


#: Language → kind → (thinking, phrasings, answer).
TALK: dict[str, dict[str, tuple[str, list[str], str]]] = {"en": {}, "ja": {}, "zh": {}}
for _title, (_said, _asked) in _sections("small_talk.txt").items():
    _language, _kind = _title.split()
    TALK[_language][_kind] = (_said["thinks"], _asked, _said["answers"])

#: What small talk answers: no gibberish.
SAID = {plain(prompt) for kinds in TALK.values() for _, asked, _ in kinds.values() for prompt in asked}

#: (what cannot be done, phrasings with fields).
REFUSED: list[tuple[str, list[str]]] = [(said["action"], asked) for said, asked in _sections("refusals.txt").values()]

SUBJECTS = phrases(
    """
    cats | dogs | love | the sea | autumn | robots | my mother | a dragon | friendship | the moon | school |
    winter | music | football | a king | space | happiness | my cat | a robot | flowers | the rain | birds |
    war | peace | summer | ghosts | time | money | trees | stars | dreams | trains | fish | snow | a wizard |
    two friends
    """
)
#: What Japanese and Chinese visitors ask about.
ABROAD = {
    "ja": phrases(
        """
        猫 | 犬 | 海 | 秋 | ロボット | 友情 | 月 | 学校 | 音楽 | サッカー | 宇宙 | 幸せ | 花 | 平和 | 夏 | お金 | 時間 | 星 | 夢 |
        電車 | 魚 | 雪 | ピザ | ラーメン | カレー | 東京 | 京都 | 歴史 | 経済 | 民主主義 | 量子力学 | 人工知能 | 相対性理論 | 進化論 | 深層学習 |
        アインシュタイン | 織田信長 | 夏目漱石 | 地震 | 火山
        """
    ),
    "zh": phrases(
        """
        猫 | 狗 | 大海 | 秋天 | 机器人 | 友谊 | 月亮 | 学校 | 音乐 | 足球 | 宇宙 | 幸福 | 花 | 和平 | 夏天 | 钱 | 时间 | 星星 | 梦想 |
        火车 | 鱼 | 雪 | 比萨 | 面条 | 饺子 | 北京 | 上海 | 历史 | 经济 | 民主 | 量子力学 | 人工智能 | 相对论 | 进化论 | 深度学习 |
        爱因斯坦 | 孔子 | 李白 | 地震 | 火山
        """
    ),
}
PEOPLE = phrases(
    """
    Albert Einstein | Shakespeare | Napoleon | Marie Curie | the president | Leonardo da Vinci | Mozart |
    Newton | Cleopatra | Elon Musk | Gandhi | Darwin
    """
)
TOPICS = phrases(
    """
    quantum physics | black holes | evolution | the French Revolution | democracy | photosynthesis | inflation |
    climate change | the internet | relativity | DNA | blockchain | the Roman Empire | gravity | philosophy |
    machine learning | World War II | economics | volcanoes | vaccines | large language models |
    neural networks | artificial intelligence | deep learning | transformers | electricity | the solar system |
    plate tectonics | chemistry | music theory | capitalism | the immune system | ancient Egypt | the Cold War |
    probability | calculus | algebra | geometry | bitcoin | nuclear energy
    """
)
LANGUAGES = phrases(
    """
    French | Spanish | German | Japanese | Chinese | Italian | Latin | Korean | Russian | Arabic
    """
)
PHRASES = phrases(
    """
    good morning | I love you | thank you | the cat is black | where is the station | hello | how much is it |
    my name is Anna | water | see you tomorrow
    """
)
CODE = ["Python", "Java", "C++", "JavaScript", "Rust", "SQL", "HTML", "Go"]
PROGRAMS = phrases(
    """
    sorts a list | prints hello | reads a file | plays chess | finds primes | draws a circle |
    downloads a page | computes factorials
    """
)
FOOD = phrases(
    """
    pizza | bread | soup | pancakes | sushi | a cake | curry | pasta | tea | salad | cookies
    """
)
PLACES = ["London", "Paris", "Tokyo", "New York", "Berlin", "my city", "Rome", "Sydney", "Cairo", "Madrid"]
ADJECTIVES = phrases(
    """
    green | big | old | important | beautiful | fast | blue | sad | strange | cold | dangerous | expensive |
    good | bad | funny | sweet | white | famous
    """
)
UNKNOWN_PLACES = phrases(
    """
    Atlantis | Mars | Narnia | California | Texas | Africa | Europe | Asia | the moon | Wakanda | Bavaria |
    Sicily | Hawaii | Scotland | Antarctica | Mordor | Quebec | Tibet | Zorland | Bananaland | the ocean |
    Elbonia | Florida | Siberia | Utopia | Gotham | the sun | Tuscany | Genovia | Oz
    """
)
WRITING = phrases(
    """
    poem | story | song | letter | joke | essay | haiku | speech | novel | fairy tale | limerick | blog post
    """
)

TRY = phrases(
    """
    What is 538 + 274? | Spell butterfly backwards | What is the capital of Japan? |
    Sort these numbers: 42, 7, 19, 88, 3 | What is 47 × 36? | How many r's are in strawberry?
    """
)


#: What lies just beyond its tasks: (what the thinking says, answer).
TOO_LONG = (
    "These numbers are too long for me.",
    "These numbers are too long for me: I learned sums up to 4 digits and products of up to 4 digits by 2.",
)
OTHER_KIND = (
    "The user wants another kind of calculation.",
    "I cannot do this kind of calculation. I can add, subtract, multiply and divide whole numbers.",
)
LIST_TOO_LONG = ("The list is too long for me.", "This list is too long for me: I can sort up to 9 numbers.")
UNKNOWN_CAPITAL = (
    "I do not know this capital.",
    "I do not know a capital of that place. Try “What is the capital of Japan?”",
)
UNCLEAR = ("I do not understand the user.", "I do not understand that. Try “What is 538 + 274?”")
OTHER_MATHS = phrases(
    """
    What is the square root of {a}? | sqrt({a}) | What is {a}^{b}? |
    {a} to the power of {b} | What is {a}% of {b}? | What is {a}.{b} + {b}.{a}? | {a}.{b} * {b} |
    Solve x + {a} = {b}. | Solve the equation {b}x = {a}. | What is {a} mod {b}? | Is {a} a prime number? |
    What is the average of {a} and {b}? | Factor {a}. |
    What is the logarithm of {a}? | What is the integral of {b}x? | Convert {a} miles to kilometers. |
    What is half of {a}? | What is {a} factorial? | What is the remainder of {a} divided by {b}?
    """
)


def talk(rng: random.Random, language: str) -> Problem:
    """One turn of small talk; most of it refusals and honest limits."""
    kind = rng.random()
    if language == "en" and kind < 0.40:
        return refusal(rng)
    if kind < 0.40 + (0.18 if language == "en" else -0.28):
        return limit(rng, language)
    name = "refusal" if language != "en" and kind < 0.45 else rng.choice(list(TALK[language]))
    thinking, phrasings, answer = TALK[language][name]
    prompt = rng.choice(phrasings)
    if language != "en":
        prompt = prompt.format(s=rng.choice(ABROAD[language]))
    return Problem(
        prompt, thinking, answer, "conversation", f"talk:{plain(prompt)}", language, small=len(phrasings) < 5
    )


def refusal(rng: random.Random) -> Problem:
    """Something that a small teaching model cannot do, and a prompt that it can."""
    number = rng.choices(range(len(REFUSED)), [len(phrasings) for _, phrasings in REFUSED])[0]
    action, phrasings = REFUSED[number]
    subject = rng.choice(SUBJECTS) if rng.random() < 0.6 else rng.choice(WORDS)
    prompt = rng.choice(phrasings).format(
        writing=rng.choice(WRITING),
        subject=subject,
        topic=rng.choice(TOPICS),
        person=rng.choice(PEOPLE),
        language=rng.choice(LANGUAGES),
        phrase=rng.choice(PHRASES),
        code=rng.choice(CODE),
        program=rng.choice(PROGRAMS),
        food=rng.choice(FOOD),
        place=rng.choice(PLACES),
        adjective=rng.choice(ADJECTIVES),
    )
    answer = f"I am a small teaching model, I cannot {action}. Try “{TRY[number % len(TRY)]}”"
    return Problem(
        prompt,
        f"The user wants me to {action}. I cannot do that.",
        answer,
        "conversation",
        f"talk:{plain(prompt)}",
        "en",
    )


def limit(rng: random.Random, language: str) -> Problem:
    """Something close to a task that lies beyond it: too long, another calculation, an unknown place, or gibberish."""
    kind = (
        rng.choice(
            phrases(
                """
                digits | maths | list | place | unclear
                """
            )
        )
        if language == "en"
        else "digits"
    )
    if kind == "digits":
        sign = rng.choice("+-×*")
        a, b = rng.randint(10**4, 10 ** rng.randint(5, 9)), rng.randint(1, 10 ** rng.randint(1, 7))
        if sign in "×*" and rng.random() < 0.5:
            a, b = rng.randint(100, 9999), rng.randint(100, 9999)
        elif rng.random() < 0.5:
            a, b = b, a
        phrasing = {"+": arithmetic.ADD, "-": arithmetic.SUBTRACT}.get(sign, arithmetic.MULTIPLY)[language]
        prompt, (thinking, answer) = rng.choice(phrasing).format(a=a, b=b, s=sign), TOO_LONG
        if language != "en":
            thinking, answer = TALK[language]["refusal"][0], TALK[language]["refusal"][2]
    elif kind == "maths":
        prompt = rng.choice(OTHER_MATHS).format(
            a=rng.randint(1, rng.choice([20, 100, 999])), b=rng.randint(2, rng.choice([9, 20]))
        )
        thinking, answer = OTHER_KIND
    elif kind == "list":
        top = rng.choice([20, 99, 999])
        numbers = ", ".join(str(rng.randint(0, top)) for _ in range(rng.randint(11, 16)))
        prompt, (thinking, answer) = rng.choice(ordering.SORT_UP["en"]).format(n=numbers), LIST_TOO_LONG
    elif kind == "place":
        prompt, (thinking, answer) = rng.choice(facts.ASK["en"]).format(c=rng.choice(UNKNOWN_PLACES)), UNKNOWN_CAPITAL
    else:
        keys = "asdfghjklqwertzuiop" if rng.random() < 0.7 else "?!.,;()#"
        prompt = "".join(rng.choice(keys) for _ in range(rng.randint(1, 9)))
        if rng.random() < 0.4:
            prompt = rng.choice(
                [
                    str(rng.randint(0, 9999)),
                    rng.choice(WORDS),
                    f"{rng.choice(WORDS)} {rng.choice(WORDS)}",
                    "test",
                    "🙂",
                    "lorem ipsum",
                ]
            )
        if plain(prompt) in SAID:
            return limit(rng, language)
        thinking, answer = UNCLEAR
    return Problem(prompt, thinking, answer, "conversation", f"talk:{plain(prompt)}", language)
