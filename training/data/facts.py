"""Capitals of countries and other small facts, in three languages. What is held out is the phrasing, never the fact."""

import random

from training.data.problem import Problem, phrases, plain

#: English country, English capital, Japanese country, Japanese capital, Chinese country, Chinese capital.
CAPITALS = tuple(
    tuple(line.split("|"))
    for line in """Japan|Tokyo|日本|東京|日本|东京
China|Beijing|中国|北京|中国|北京
France|Paris|フランス|パリ|法国|巴黎
Germany|Berlin|ドイツ|ベルリン|德国|柏林
Italy|Rome|イタリア|ローマ|意大利|罗马
Spain|Madrid|スペイン|マドリード|西班牙|马德里
Portugal|Lisbon|ポルトガル|リスボン|葡萄牙|里斯本
Greece|Athens|ギリシャ|アテネ|希腊|雅典
Poland|Warsaw|ポーランド|ワルシャワ|波兰|华沙
Austria|Vienna|オーストリア|ウィーン|奥地利|维也纳
Hungary|Budapest|ハンガリー|ブダペスト|匈牙利|布达佩斯
Sweden|Stockholm|スウェーデン|ストックホルム|瑞典|斯德哥尔摩
Norway|Oslo|ノルウェー|オスロ|挪威|奥斯陆
Finland|Helsinki|フィンランド|ヘルシンキ|芬兰|赫尔辛基
Denmark|Copenhagen|デンマーク|コペンハーゲン|丹麦|哥本哈根
Ireland|Dublin|アイルランド|ダブリン|爱尔兰|都柏林
Russia|Moscow|ロシア|モスクワ|俄罗斯|莫斯科
Turkey|Ankara|トルコ|アンカラ|土耳其|安卡拉
Egypt|Cairo|エジプト|カイロ|埃及|开罗
India|New Delhi|インド|ニューデリー|印度|新德里
Thailand|Bangkok|タイ|バンコク|泰国|曼谷
Vietnam|Hanoi|ベトナム|ハノイ|越南|河内
South Korea|Seoul|韓国|ソウル|韩国|首尔
Canada|Ottawa|カナダ|オタワ|加拿大|渥太华
Mexico|Mexico City|メキシコ|メキシコシティ|墨西哥|墨西哥城
Brazil|Brasilia|ブラジル|ブラジリア|巴西|巴西利亚
Argentina|Buenos Aires|アルゼンチン|ブエノスアイレス|阿根廷|布宜诺斯艾利斯
Chile|Santiago|チリ|サンティアゴ|智利|圣地亚哥
Peru|Lima|ペルー|リマ|秘鲁|利马
Cuba|Havana|キューバ|ハバナ|古巴|哈瓦那
Australia|Canberra|オーストラリア|キャンベラ|澳大利亚|堪培拉
Kenya|Nairobi|ケニア|ナイロビ|肯尼亚|内罗毕
the United States|Washington|アメリカ|ワシントン|美国|华盛顿
the United Kingdom|London|イギリス|ロンドン|英国|伦敦
the Netherlands|Amsterdam|オランダ|アムステルダム|荷兰|阿姆斯特丹
Indonesia|Jakarta|インドネシア|ジャカルタ|印度尼西亚|雅加达
Belgium|Brussels||||
Switzerland|Bern||||
the Czech Republic|Prague||||
Slovakia|Bratislava||||
Slovenia|Ljubljana||||
Croatia|Zagreb||||
Serbia|Belgrade||||
Bulgaria|Sofia||||
Romania|Bucharest||||
Ukraine|Kyiv||||
Estonia|Tallinn||||
Latvia|Riga||||
Lithuania|Vilnius||||
Iceland|Reykjavik||||
Albania|Tirana||||
Cyprus|Nicosia||||
Morocco|Rabat||||
Tunisia|Tunis||||
Algeria|Algiers||||
Ethiopia|Addis Ababa||||
Ghana|Accra||||
Nigeria|Abuja||||
Senegal|Dakar||||
Uganda|Kampala||||
Rwanda|Kigali||||
Zambia|Lusaka||||
Iran|Tehran||||
Iraq|Baghdad||||
Saudi Arabia|Riyadh||||
Jordan|Amman||||
Lebanon|Beirut||||
Qatar|Doha||||
Pakistan|Islamabad||||
Bangladesh|Dhaka||||
Nepal|Kathmandu||||
Mongolia|Ulaanbaatar||||
the Philippines|Manila||||
Malaysia|Kuala Lumpur||||
Cambodia|Phnom Penh||||
Laos|Vientiane||||
New Zealand|Wellington||||
Colombia|Bogota||||
Venezuela|Caracas||||
Ecuador|Quito||||
Uruguay|Montevideo||||
Paraguay|Asuncion||||
Costa Rica|San Jose||||
Jamaica|Kingston||||""".splitlines()
)

ASK = {
    "en": phrases(
        """
        What is the capital of {c}? | what is the capital of {c} | What's the capital of {c}? | Capital of {c}? |
        Which city is the capital of {c}? | Tell me the capital of {c}. | Name the capital of {c}. |
        Do you know the capital of {c}? | What city is the capital of {c}? | The capital of {c} is? |
        Please tell me the capital city of {c}. | What is the capital city of {c}? |
        Can you name the capital of {c}?
        """
    ),
    "ja": phrases(
        """
        {c}の首都は？ | {c}の首都はどこですか？ | {c}の首都を教えてください。 | {c}の首都は何ですか？ |
        {c}の首都は何という都市ですか？ | {c}の首都の名前は？ | {c}の首都はどこ？ | {c}の首都を教えて |
        {c}の首都を知っていますか？ | {c}の首都の名前を教えてください。
        """
    ),
    "zh": phrases(
        """
        {c}的首都是哪里？ | {c}的首都是什么？ | {c}首都是哪个城市？ | 请告诉我{c}的首都。 | {c}的首都？ |
        {c}的首都叫什么？ | {c}的首都是哪座城市？ | 你知道{c}的首都吗？ | 告诉我{c}的首都是哪里 | 哪个城市是{c}的首都？
        """
    ),
}
WHICH_COUNTRY = [
    "{k} is the capital of which country?",
    "Which country has {k} as its capital?",
    "What country is {k} the capital of?",
]
WHICH_THINKING = "{k} is the capital of {c}."
THINKING = {"en": "The capital of {c} is asked. It is {k}.", "ja": "{c}の首都 → {k}", "zh": "{c}的首都 → {k}"}
ANSWER = {"en": "The capital of {c} is {k}.", "ja": "{c}の首都は{k}です。", "zh": "{c}的首都是{k}。"}
FOLLOW_UP = {"en": ["And {c}?", "What about {c}?", "And of {c}?"], "ja": ["では{c}は？"], "zh": ["那{c}呢？"]}


def capital(rng: random.Random, language: str) -> Problem:
    rows = CAPITALS if language == "en" else [row for row in CAPITALS if row[2]]
    row = rng.choice(rows)
    column = {"en": 0, "ja": 2, "zh": 4}[language]
    country, city = row[column], row[column + 1]
    back = language == "en" and rng.random() < 0.3
    prompt = rng.choice(WHICH_COUNTRY if back else ASK[language]).format(c=country, k=city)
    thinking = (WHICH_THINKING if back else THINKING[language]).format(c=country, k=city)
    answer = ANSWER[language].format(c=country, k=city)
    follow_up = rng.choice(FOLLOW_UP[language]).format(c=country)
    return Problem(prompt, thinking, answer, "capitals", f"capital:{plain(prompt)}", language, follow_up=follow_up)


#: Kind of fact: ({language: phrasings}, {language: answer}, rows of three languages, each `subject=fact`).
SMALL_FACTS: list[tuple[dict[str, list[str]], dict[str, str], str]] = [
    (
        {
            "en": phrases(
                "What is the opposite of {a}? | the opposite of {a} | Name the opposite of {a}. | What's the opposite of “{a}”?"
            ),
            "ja": ["「{a}」の反対は？", "「{a}」の反対の言葉は何ですか？", "「{a}」の対義語は？"],
            "zh": ["“{a}”的反义词是什么？", "“{a}”的反义词是？", "“{a}”的反义词是哪个？"],
        },
        {"en": "The opposite of {a} is {b}.", "ja": "「{a}」の反対は「{b}」です。", "zh": "“{a}”的反义词是“{b}”。"},
        """hot=cold|暑い=寒い|热=冷
big=small|大きい=小さい|大=小
high=low|高い=低い|高=低
long=short|長い=短い|长=短
new=old|新しい=古い|新=旧
fast=slow|速い=遅い|快=慢
light=dark|明るい=暗い|亮=暗
beginning=end|始まり=終わり|开始=结束
rich=poor|豊か=貧しい|富=穷
open=closed|開く=閉じる|开=关
full=empty|いっぱい=空っぽ|满=空
left=right|左=右|左=右
up=down|上=下|上=下
day=night|昼=夜|白天=黑夜
yes=no|はい=いいえ|是=否""",
    ),
    (
        {
            "en": phrases(
                "What color is {a}? | Which color is {a}? | Tell me the color of {a}. | The color of {a} is?"
            ),
            "ja": ["{a}は何色ですか？", "{a}の色は？", "{a}の色を教えてください。"],
            "zh": ["{a}是什么颜色？", "{a}的颜色是什么？", "请告诉我{a}的颜色。"],
        },
        {"en": "The color of {a} is {b}.", "ja": "{a}の色は{b}です。", "zh": "{a}的颜色是{b}。"},
        """a banana=yellow|バナナ=黄色|香蕉=黄色
grass=green|草=緑色|草=绿色
snow=white|雪=白|雪=白色
blood=red|血=赤|血=红色
coal=black|石炭=黒|煤=黑色
the clear sky=blue|晴れた空=青|晴朗的天空=蓝色
an orange=orange|オレンジ=オレンジ色|橙子=橙色
milk=white|牛乳=白|牛奶=白色
a ripe tomato=red|熟したトマト=赤|熟番茄=红色
a lemon=yellow|レモン=黄色|柠檬=黄色""",
    ),
    (
        {
            "en": phrases(
                "How many legs does {a} have? | How many legs has {a}? | Tell me the number of legs of {a}. | Number of legs of {a}?"
            ),
            "ja": ["{a}の足は何本ですか？", "{a}には足が何本ありますか？", "{a}の足の数は？"],
            "zh": ["{a}有几条腿？", "{a}有多少条腿？", "{a}的腿有几条？"],
        },
        {"en": "The number of legs of {a} is {b}.", "ja": "{a}の足は{b}本です。", "zh": "{a}有{b}条腿。"},
        """a spider=8|クモ=8|蜘蛛=8
an ant=6|アリ=6|蚂蚁=6
a bee=6|ハチ=6|蜜蜂=6
a dog=4|犬=4|狗=4
a horse=4|馬=4|马=4
a chicken=2|ニワトリ=2|鸡=2
a cow=4|牛=4|牛=4
a shrimp=10|エビ=10|虾=10""",
    ),
    (
        {
            "en": phrases(
                "How many sides does {a} have? | How many sides has {a}? | Tell me the number of sides of {a}. | Number of sides of {a}?"
            ),
            "ja": ["{a}の辺はいくつですか？", "{a}には辺がいくつありますか？", "{a}の辺の数は？"],
            "zh": ["{a}有几条边？", "{a}有多少条边？", "{a}的边数是多少？"],
        },
        {"en": "The number of sides of {a} is {b}.", "ja": "{a}の辺は{b}本です。", "zh": "{a}有{b}条边。"},
        """a triangle=3|三角形=3|三角形=3
a square=4|正方形=4|正方形=4
a pentagon=5|五角形=5|五边形=5
a hexagon=6|六角形=6|六边形=6
an octagon=8|八角形=8|八边形=8""",
    ),
    (
        {
            "en": phrases(
                "Which month comes after {a}? | What month follows {a}? | What is the month after {a}? | The month after {a}?"
            ),
            "ja": ["{a}の次の月は？", "{a}の次は何月ですか？"],
            "zh": ["{a}的下一个月是几月？", "{a}之后是几月？"],
        },
        {"en": "The month after {a} is {b}.", "ja": "{a}の次は{b}です。", "zh": "{a}之后是{b}。"},
        """January=February|1月=2月|一月=二月
February=March|2月=3月|二月=三月
March=April|3月=4月|三月=四月
April=May|4月=5月|四月=五月
May=June|5月=6月|五月=六月
June=July|6月=7月|六月=七月
July=August|7月=8月|七月=八月
August=September|8月=9月|八月=九月
September=October|9月=10月|九月=十月
October=November|10月=11月|十月=十一月
November=December|11月=12月|十一月=十二月
December=January|12月=1月|十二月=一月""",
    ),
    (
        {
            "en": phrases(
                "What is the chemical symbol of {a}? | What is the symbol for {a}? | Chemical symbol of {a}? | Tell me the symbol of {a}."
            ),
            "ja": ["{a}の元素記号は？", "{a}の元素記号は何ですか？", "{a}の記号を教えてください。"],
            "zh": ["{a}的元素符号是什么？", "{a}的化学符号是？", "请告诉我{a}的元素符号。"],
        },
        {"en": "The symbol of {a} is {b}.", "ja": "{a}の元素記号は{b}です。", "zh": "{a}的元素符号是{b}。"},
        """hydrogen=H|水素=H|氢=H
oxygen=O|酸素=O|氧=O
carbon=C|炭素=C|碳=C
nitrogen=N|窒素=N|氮=N
iron=Fe|鉄=Fe|铁=Fe
gold=Au|金=Au|金=Au
silver=Ag|銀=Ag|银=Ag
copper=Cu|銅=Cu|铜=Cu
helium=He|ヘリウム=He|氦=He""",
    ),
    (
        {
            "en": phrases(
                "What is a young {a} called? | What do you call a young {a}? | The young of a {a} is called? | What is the name of a young {a}?"
            ),
            "ja": ["{a}の鳴き声は？", "{a}は何と鳴きますか？"],
            "zh": ["{a}怎么叫？", "{a}的叫声是什么？"],
        },
        {"en": "A young {a} is called a {b}.", "ja": "{a}は「{b}」と鳴きます。", "zh": "{a}的叫声是“{b}”。"},
        """cat=kitten|猫=ニャー|猫=喵
dog=puppy|犬=ワンワン|狗=汪汪
cow=calf|牛=モー|牛=哞
horse=foal|馬=ヒヒーン|马=嘶
sheep=lamb|羊=メー|羊=咩
frog=tadpole|カエル=ケロケロ|青蛙=呱呱
duck=duckling|アヒル=ガーガー|鸭子=嘎嘎""",
    ),
]


def small_fact(rng: random.Random, language: str) -> Problem:
    asked, said, rows = rng.choice(SMALL_FACTS)
    a, b = rng.choice(rows.splitlines()).split("|")[("en", "ja", "zh").index(language)].split("=")
    if "opposite" in said["en"] and rng.random() < 0.4:
        a, b = b, a
    prompt = rng.choice(asked[language]).format(a=a)
    answer = said[language].format(a=a, b=b)
    return Problem(prompt, f"{a} → {b}", answer, "facts", f"fact:{plain(prompt)}", language)
