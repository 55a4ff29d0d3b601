"""Capitals of countries, in three languages. What is held out is the phrasing, never the fact."""

import random

from training.data.problem import Problem, phrases

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
        {c}の首都は? | {c}の首都はどこですか? | {c}の首都を教えてください。 |
        {c}の首都は何ですか?
        """
    ),
    "zh": phrases(
        """
        {c}的首都是哪里? | {c}的首都是什么? | {c}首都是哪个城市? | 请告诉我{c}的首都。
        """
    ),
}
WHICH_COUNTRY = [
    "{k} is the capital of which country?",
    "Which country has {k} as its capital?",
    "What country is {k} the capital of?",
]
THINKING = {"en": "The capital of {c} is asked. It is {k}.", "ja": "{c}の首都 → {k}", "zh": "{c}的首都 → {k}"}
ANSWER = {"en": "The capital of {c} is {k}.", "ja": "{c}の首都は{k}です。", "zh": "{c}的首都是{k}。"}
FOLLOW_UP = {"en": ["And {c}?", "What about {c}?", "And of {c}?"], "ja": ["では{c}は?"], "zh": ["那{c}呢?"]}


def capital(rng: random.Random, language: str) -> Problem:
    rows = CAPITALS if language == "en" else [row for row in CAPITALS if row[2]]
    row = rng.choice(rows)
    column = {"en": 0, "ja": 2, "zh": 4}[language]
    country, city = row[column], row[column + 1]
    if language == "en" and rng.random() < 0.15:
        prompt = rng.choice(WHICH_COUNTRY).format(k=city)
    else:
        prompt = rng.choice(ASK[language]).format(c=country)
    thinking, answer = THINKING[language].format(c=country, k=city), ANSWER[language].format(c=country, k=city)
    follow_up = rng.choice(FOLLOW_UP[language]).format(c=country)
    return Problem(prompt, thinking, answer, "capitals", f"capital:{prompt}", language, follow_up=follow_up)
