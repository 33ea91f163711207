"""Prompts in other languages, so that another script alone is no sign of an easy or a hard prompt."""

from typing import Final

from serve_app.classification.training.grammar import Level
from serve_app.contracts.vocabulary import Domain

_C, _R, _K, _S, _M = Domain.COACHING, Domain.REASONING, Domain.KNOWLEDGE, Domain.SMALLTALK, Domain.MATH
_EASY, _HARD = Level.EASY, Level.HARD

# ruff: noqa: RUF001 - prompts in other scripts hold letters that look like Latin ones
WORLD: Final[tuple[tuple[Domain, Level, str], ...]] = (
    (_S, _EASY, "Hallo, wie geht es dir?"),
    (_S, _EASY, "Danke, das hat geholfen!"),
    (_S, _EASY, "Guten Morgen!"),
    (_C, _EASY, "Wie bitte ich meine Chefin um mehr Gehalt?"),
    (_C, _EASY, "Wie kann ich besser schlafen?"),
    (_C, _EASY, "Ich bin heute müde und unmotiviert. Was kann ich tun?"),
    (_K, _EASY, "Was ist die Hauptstadt von Peru?"),
    (_R, _HARD, "Beweise, dass die Wurzel aus 2 irrational ist, und verallgemeinere den Beweis auf alle Primzahlen."),
    (_R, _HARD, "A, B und C sind Ritter oder Schurken. A sagt, dass B ein Schurke ist. Bestimme alle Möglichkeiten "
                "und begründe, warum es keine weiteren gibt."),
    (_R, _HARD, "Vergleiche drei Strategien für den Umbau unserer Abteilung, wäge Risiken und Nebenwirkungen ab "
                "und begründe Schritt für Schritt, unter welchen Annahmen jede optimal ist."),
    (_S, _EASY, "Hola, ¿cómo estás?"),
    (_S, _EASY, "¡Muchas gracias!"),
    (_C, _EASY, "¿Cómo puedo dormir mejor?"),
    (_C, _EASY, "¿Cómo doy retroalimentación a un compañero que siempre llega tarde?"),
    (_K, _EASY, "¿Cuál es la capital de Japón?"),
    (_R, _HARD, "Demuestra que hay infinitos números primos y generaliza el argumento a los primos de la forma "
                "4k+3."),
    (_R, _HARD, "Tres personas deben cruzar un puente de noche con una linterna. Encuentra el tiempo mínimo y "
                "demuestra que es óptimo."),
    (_S, _EASY, "Bonjour, ça va ?"),
    (_S, _EASY, "Merci beaucoup !"),
    (_C, _EASY, "Comment rester motivé au travail ?"),
    (_C, _EASY, "Comment dire non à un collègue sans le vexer ?"),
    (_K, _EASY, "Qui a peint la Joconde ?"),
    (_R, _HARD, "Démontrez que la racine carrée de 3 est irrationnelle, puis généralisez à tout entier qui n'est "
                "pas un carré parfait."),
    (_R, _HARD, "Analysez les compromis entre ces deux stratégies, formulez vos hypothèses et déduisez dans "
                "quelles conditions chacune est optimale."),
    (_S, _EASY, "Ciao, come stai?"),
    (_S, _EASY, "Grazie mille!"),
    (_C, _EASY, "Come posso gestire meglio il mio tempo?"),
    (_R, _HARD, "Dimostra per induzione che la somma dei primi n numeri dispari è n al quadrato e discuti dove si "
                "usa l'ipotesi."),
    (_S, _EASY, "Olá, tudo bem?"),
    (_S, _EASY, "Obrigado!"),
    (_C, _EASY, "Como posso parar de procrastinar?"),
    (_R, _HARD, "Prove que não existe um conjunto de todos os conjuntos e explique, passo a passo, quais axiomas "
                "são necessários."),
    (_S, _EASY, "Привет, как дела?"),
    (_S, _EASY, "Спасибо большое!"),
    (_C, _EASY, "Как мне перестать откладывать дела?"),
    (_C, _EASY, "Как попросить начальника о повышении?"),
    (_K, _EASY, "Какая столица Франции?"),
    (_R, _HARD, "Докажите, что корень из двух иррационален, и обобщите доказательство на все простые числа."),
    (_R, _HARD, "А, Б и В — рыцари или лжецы. А говорит, что Б лжец. Определите, кто есть кто, и докажите "
                "единственность решения."),
    (_S, _EASY, "你好！"),
    (_S, _EASY, "谢谢你！"),
    (_S, _EASY, "早上好，你好吗？"),
    (_C, _EASY, "我怎样才能更好地管理时间？"),
    (_C, _EASY, "同事总是迟到，我该怎么跟他说？"),
    (_K, _EASY, "法国的首都是哪里？"),
    (_R, _HARD, "证明根号二是无理数，并把证明推广到所有不是完全平方数的整数。"),
    (_R, _HARD, "三个人夜里要过一座桥，只有一盏灯，每次最多两个人。求最短总时间，并证明这是最优的。"),
    (_S, _EASY, "こんにちは"),
    (_S, _EASY, "ありがとうございます！"),
    (_C, _EASY, "毎日運動する習慣をつけるにはどうすればいいですか？"),
    (_C, _EASY, "上司に相談するコツを教えてください。"),
    (_K, _EASY, "日本で一番高い山は何ですか？"),
    (_R, _HARD, "素数が無限に存在することを証明し、その議論を一般化しなさい。必要な仮定も厳密に説明してください。"),
    (_S, _EASY, "مرحبا، كيف حالك؟"),
    (_S, _EASY, "شكرا جزيلا"),
    (_C, _EASY, "كيف أتحدث مع مديري عن زيادة الراتب؟"),
    (_C, _EASY, "كيف أنظم وقتي بشكل أفضل؟"),
    (_K, _EASY, "ما هي عاصمة مصر؟"),
    (_R, _HARD, "أثبت أن الجذر التربيعي للعدد 2 عدد غير نسبي، ثم عمم البرهان على جميع الأعداد الأولية."),
    (_S, _EASY, "שלום, מה שלומך?"),
    (_S, _EASY, "תודה רבה!"),
    (_C, _EASY, "איך אני יכול לנהל את הזמן שלי טוב יותר?"),
    (_R, _HARD, "הוכח שיש אינסוף מספרים ראשוניים והכלל את הטיעון. הסבר כל צעד בהוכחה."),
    (_S, _EASY, "नमस्ते, आप कैसे हैं?"),
    (_S, _EASY, "धन्यवाद!"),
    (_C, _EASY, "मैं काम पर ध्यान कैसे केंद्रित करूँ?"),
    (_R, _HARD, "सिद्ध कीजिए कि 2 का वर्गमूल अपरिमेय है और फिर प्रमाण को सभी अभाज्य संख्याओं तक सामान्यीकृत कीजिए।"),
    (_S, _EASY, "안녕하세요!"),
    (_S, _EASY, "감사합니다"),
    (_C, _EASY, "어떻게 하면 미루는 습관을 고칠 수 있을까요?"),
    (_R, _HARD, "소수가 무한히 많음을 증명하고, 그 논증을 일반화하여 각 단계의 근거를 엄밀하게 설명하시오."),
    (_S, _EASY, "Cześć, co słychać?"),
    (_S, _EASY, "Dziękuję!"),
    (_C, _EASY, "Jak poprosić szefa o podwyżkę?"),
    (_M, _HARD, "Udowodnij, że szereg harmoniczny jest rozbieżny, i uogólnij dowód na szeregi postaci 1/n^p."),
    (_S, _EASY, "Merhaba, nasılsın?"),
    (_S, _EASY, "Teşekkürler!"),
    (_C, _EASY, "Zamanımı nasıl daha iyi yönetebilirim?"),
    (_M, _HARD, "Karekök 2'nin irrasyonel olduğunu kanıtlayın ve kanıtı tam kare olmayan tüm sayılara genelleyin."),
    (_S, _EASY, "Hoi, hoe gaat het?"),
    (_S, _EASY, "Dank je wel!"),
    (_C, _EASY, "Hoe geef ik feedback aan een collega die te laat komt?"),
    (_S, _EASY, "สวัสดี"),
    (_S, _EASY, "ขอบคุณมาก"),
    (_C, _EASY, "ฉันจะจัดการเวลาให้ดีขึ้นได้อย่างไร"),
)  # fmt: skip
