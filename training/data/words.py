"""Spelling, reversing words and counting letters, worked out letter by letter.

The words are ordinary English words plus made-up ones, so that the model must know the letters inside every piece of its
vocabulary instead of remembering words. A word belongs to one side of the split for all three tasks.
"""

import random

from training.data.problem import Problem, phrases

_TEXT = """
    able about above accept acorn across action actor address advice afternoon again airport album alley almond alphabet always amber anchor
    angle animal answer antler apple apricot april arrow artist aspen atlas august autumn avocado bacon badge badger bagel baker balance balloon
    bamboo banana bandage banjo barley barrel basket battery beach beacon beaver because bedroom beetle before believe bell berry better between
    bicycle biscuit blanket blossom blueberry board boat bottle boulder bracelet branch bread breakfast breeze brick bridge bright broccoli
    brother brown brush bubble bucket buffalo building bumblebee butter buttercup butterfly button cabbage cabin cactus camel camera campfire
    canary candle candy canoe canyon captain caramel caravan carpet carrot castle caterpillar cattle cedar celery cello ceiling center ceramic
    chair chalk channel chapter cheese cherry chess chestnut chicken chimney chocolate cinema cinnamon circle circus city clarinet classroom
    clever cliff climate clock cloud clover coach coast cobbler cobweb coconut coffee collar color comet committee compass concert cookie copper
    coral corner cotton country cousin cradle crayon creature cricket crocodile crown crystal cucumber cupboard curtain custard cycle daffodil
    daisy dance daughter december desert diamond dinner dinosaur doctor dollar dolphin donkey door dragon dragonfly drawer dream drum duckling
    eagle early earth easel eclipse effort eight elbow elephant eleven emerald empty engine evening every example exercise expert explorer
    fabric falcon family farmer feather february fence ferry fiddle field finger firefly flamingo flannel flower flute follow football forest
    fountain fox freedom friday friend frog galaxy garden garlic gazelle ginger giraffe glacier glass glove goat goblet golden goose gorilla
    grammar granite grape grass gravity green guitar hammer hammock hamster harbor harvest hazelnut heart hedgehog helmet hello heron hill
    history holiday hollow honey horizon horse hospital house hummingbird hundred husband iceberg igloo illness important insect iron island
    ivory jacket jaguar january jasmine jelly jellyfish jewel jigsaw journey jungle juniper kangaroo kayak kettle keyboard kingdom kitchen
    kitten kiwi koala ladder ladybug lagoon language lantern laptop lavender leather lemon leopard lesson letter lettuce library light lily
    lizard llama lobster locket lullaby machine magnet magpie mammal mango maple marble market marmalade meadow medal melody melon member
    mermaid message metal midnight million minnow mirror mississippi mitten model moment monday monkey moon morning mosaic mosquito mountain
    mouse muffin museum mushroom music mustard napkin narrow nature necklace needle nephew nettle network nickel night noodle north november
    number nutmeg oasis ocean october octopus office olive onion opera orange orbit orchard orchid ostrich otter oven owl oxygen oyster paddle
    palace panda pancake panther papaya paper parade parrot parsley passport pasta peacock peanut pebble pelican pencil penguin pepper perfect
    piano pickle picnic picture pigeon pillow pineapple pirate planet plastic plum pocket poem polar pollen pony popcorn poppy potato prairie
    prince problem puddle pumpkin puppet puppy purple puzzle pyramid quarter queen question quiet quilt rabbit raccoon radio railway rainbow
    raisin raspberry raven reading ribbon rice river robin robot rocket rooster rosemary router rubber ruby sailor salad salmon sandal
    sandwich satellite saturday saxophone scarf school science scissors season seaweed second secret september seven shadow sheep shell
    sheriff shirt shoulder shovel silver sister skeleton sleeve slipper snail snow soccer sparrow spider spinach spoon spring squirrel stable
    starfish station stone story strawberry stream street student subway success sugar summer sunday sunflower sunset swallow sweater swimming
    table tadpole teacher teapot telescope temple tennis theater thimble thirteen thistle thousand thunder thursday ticket tiger tissue toast
    tomato tomorrow tornado tortoise towel tractor traffic treasure triangle trumpet tuesday tulip tunnel turkey turnip turtle twelve twenty
    umbrella uncle unicorn universe vacation valley vanilla vegetable velvet village vinegar violet violin visitor volcano voyage wagon waffle
    walnut walrus water waterfall weather wednesday weekend whale wheat whisper whistle willow window winter wizard wolf wonder woodpecker
    yellow yesterday yogurt zebra zero zipper zucchini
"""
WORDS = tuple(_TEXT.split())

SPELL = {
    "en": phrases(
        """
        Spell {w}. | Spell the word {w} | How do you spell {w}? | Spell "{w}". | Please spell {w} |
        Spell {w} letter by letter. | Can you spell {w}?
        """
    ),
    "ja": ["{w} のつづりは？", "{w} のつづりを一文字ずつ書いてください。", "{w} を一文字ずつ書いて"],
    "zh": ["{w} 怎么拼写？", "请逐个字母拼写 {w}。", "把 {w} 的字母一个一个写出来"],
}
REVERSE = {
    "en": phrases(
        """
        Spell {w} backwards | Spell {w} backwards. | Reverse the word {w}. | Reverse "{w}" | Write {w} backwards. |
        What is {w} backwards? | What is {w} spelled backwards? | Please reverse {w} |
        Can you write "{w}" in reverse? | Reverse: {w} | Turn the word {w} around.
        """
    ),
    "ja": ["{w} を逆から書いてください。", "{w} を逆さまにして", "{w} を後ろから読むと？"],
    "zh": ["把 {w} 倒过来写。", "{w} 倒着写是什么？", "请反转 {w}"],
}
COUNT = {
    "en": phrases(
        """
        How many {c}'s are in {w}? | How many {c}s are in {w}? | How many times does {c} appear in {w}? |
        How many letters {c} are in "{w}"? | Count the letter {c} in {w}. |
        How many {c}'s are there in the word {w}? | How often does "{c}" occur in "{w}"? | Count the {c}'s in {w} |
        how many {c} in {w} | Number of {c}'s in {w}?
        """
    ),
    "ja": ["{w} に {c} はいくつありますか？", "{w} の中の {c} の数は？", "{w} に {c} は何個？"],
    "zh": ["{w} 里有几个 {c}？", "{w} 中有多少个字母 {c}？", "数一数 {w} 里的 {c}"],
}
LENGTH = {
    "en": phrases(
        """
        How many letters are in {w}? | How long is the word {w}? | Count the letters of "{w}". |
        How many letters does {w} have?
        """
    ),
    "ja": ["{w} は何文字ですか？", "{w} の文字数は？"],
    "zh": ["{w} 有几个字母？", "{w} 有多少个字母？"],
}


def random_word(rng: random.Random) -> str:
    """An ordinary word (half of them) or one made of fragments of ordinary words, at most twelve letters."""
    if rng.random() < 0.5:
        return rng.choice(WORDS)
    return "".join(fragment(rng) for _ in range(rng.randint(2, 4)))[:12]


def fragment(rng: random.Random) -> str:
    """One to four letters that stand together in an ordinary word."""
    source = rng.choice(WORDS)
    start = rng.randrange(len(source))
    return source[start : start + rng.randint(1, 4)]


def _shown(rng: random.Random, word: str) -> str:
    """The word as a person may write it: now and then with a capital."""
    return word.capitalize() if rng.random() < 0.06 else word


LENGTH_ANSWER = {"en": "It has {n} letters.", "ja": "{n} 文字です。", "zh": "有 {n} 个字母。"}
FOLLOW_UP = {"en": "And {w}?", "ja": "では {w} は？", "zh": "那 {w} 呢？"}


def spell(rng: random.Random, language: str) -> Problem:
    word = random_word(rng)
    prompt = rng.choice(SPELL[language]).format(w=_shown(rng, word))
    return Problem(prompt, " ".join(word), "-".join(word), "spelling", f"word:{word}", language)


def reverse(rng: random.Random, language: str) -> Problem:
    word = random_word(rng)
    steps = f"{' '.join(word)}\n{' '.join(reversed(word))}"
    prompt = rng.choice(REVERSE[language]).format(w=_shown(rng, word))
    follow_up = FOLLOW_UP[language].format(w=word)
    return Problem(prompt, steps, word[::-1], "reversing", f"word:{word}", language, follow_up=follow_up)


def count_letters(rng: random.Random, language: str) -> Problem:
    word = random_word(rng)
    kind = rng.random()
    if kind < 0.12:
        steps = f"{' '.join(word)}\n" + ", ".join(f"{letter} {i}" for i, letter in enumerate(word, 1))
        prompt = rng.choice(LENGTH[language]).format(w=_shown(rng, word))
        answer = LENGTH_ANSWER[language].format(n=len(word))
        return Problem(prompt, steps, answer, "counting", f"word:{word}", language)
    repeated = [c for c in word if word.count(c) > 1]
    if kind < 0.6 and repeated:
        letter = rng.choice(repeated)
    elif kind < 0.88:
        letter = rng.choice(word)
    else:
        letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    times = word.count(letter)
    shown = letter.upper() if rng.random() < 0.05 else letter
    answer = {
        "en": f"The letter {letter} appears {times} time{'' if times == 1 else 's'}.",
        "ja": f"{letter} は {times} 個あります。",
        "zh": f"有 {times} 个 {letter}。",
    }[language]
    prompt = rng.choice(COUNT[language]).format(c=shown, w=_shown(rng, word))
    return Problem(prompt, counting_steps(word, letter), answer, "counting", f"word:{word}", language)


def counting_steps(word: str, letter: str) -> str:
    """The word spelled, then again with every wanted letter numbered: `s t r 1 a w b e r 2 r 3 y`, and the last number."""
    numbered, total = [], 0
    for c in word:
        total += c == letter
        numbered.append(f"{c} {total}" if c == letter else c)
    return f"{' '.join(word)}\n{' '.join(numbered)}\n{letter}: {total}"
