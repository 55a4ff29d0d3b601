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

SPELL = phrases(
    """
    Spell {w}. | Spell the word {w} | How do you spell {w}? | Spell "{w}". | Please spell {w} |
    Spell {w} letter by letter. | Can you spell {w}? | What letters are in {w}?
    """
)
REVERSE = phrases(
    """
    Spell {w} backwards | Spell {w} backwards. | Reverse the word {w}. | Reverse "{w}" | Write {w} backwards. |
    What is {w} backwards? | What is {w} spelled backwards? | Please reverse {w} |
    Can you write "{w}" in reverse? | Reverse: {w} | Turn the word {w} around.
    """
)
COUNT = phrases(
    """
    How many {c}'s are in {w}? | How many {c}s are in {w}? | How many times does {c} appear in {w}? |
    How many letters {c} are in "{w}"? | Count the letter {c} in {w}. |
    How many {c}'s are there in the word {w}? | How often does "{c}" occur in "{w}"? | Count the {c}'s in {w} |
    how many {c} in {w} | Number of {c}'s in {w}?
    """
)
LENGTH = phrases(
    """
    How many letters are in {w}? | How long is the word {w}? | Count the letters of "{w}". |
    How many letters does {w} have?
    """
)


def random_word(rng: random.Random) -> str:
    """An ordinary word (65%) or one made of fragments of ordinary words, at most twelve letters."""
    if rng.random() < 0.65:
        return rng.choice(WORDS)
    made = ""
    for _ in range(rng.randint(2, 4)):
        source = rng.choice(WORDS)
        start = rng.randrange(len(source))
        made += source[start : start + rng.randint(1, 4)]
    return made[:12]


def _shown(rng: random.Random, word: str) -> str:
    """The word as a person may write it: now and then with a capital."""
    return word.capitalize() if rng.random() < 0.06 else word


def spell(rng: random.Random, language: str) -> Problem:
    word = random_word(rng)
    letters = "-".join(word)
    return Problem(
        rng.choice(SPELL).format(w=_shown(rng, word)), " ".join(word), letters, "spelling", f"word:{word}", "en"
    )


def reverse(rng: random.Random, language: str) -> Problem:
    word = random_word(rng)
    steps = f"{' '.join(word)}\n{' '.join(reversed(word))}"
    prompt = rng.choice(REVERSE).format(w=_shown(rng, word))
    return Problem(prompt, steps, word[::-1], "reversing", f"word:{word}", "en", follow_up=f"And {word}?")


def count_letters(rng: random.Random, language: str) -> Problem:
    word = random_word(rng)
    kind = rng.random()
    if kind < 0.12:
        steps = f"{' '.join(word)}\n" + ", ".join(f"{letter} {i}" for i, letter in enumerate(word, 1))
        return Problem(
            rng.choice(LENGTH).format(w=_shown(rng, word)),
            steps,
            f"It has {len(word)} letters.",
            "counting",
            f"word:{word}",
            "en",
        )
    repeated = [c for c in word if word.count(c) > 1]
    if kind < 0.6 and repeated:
        letter = rng.choice(repeated)
    elif kind < 0.88:
        letter = rng.choice(word)
    else:
        letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    times = word.count(letter)
    shown = letter.upper() if rng.random() < 0.05 else letter
    answer = f"The letter {letter} appears {times} time{'' if times == 1 else 's'}."
    prompt = rng.choice(COUNT).format(c=shown, w=_shown(rng, word))
    return Problem(prompt, counting_steps(word, letter), answer, "counting", f"word:{word}", "en")


def counting_steps(word: str, letter: str) -> str:
    """The word spelled, then every letter with the running count of the wanted one."""
    running, total = [], 0
    for c in word:
        total += c == letter
        running.append(f"{c} {total}")
    return f"{' '.join(word)}\n{letter}: {', '.join(running)}"
