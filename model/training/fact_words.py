"""Names, values and sentences of invented facts, parted into those of training and those held out for measuring."""

from __future__ import annotations


def many(text: str) -> list[str]:
    """Words of a list."""
    return text.split()


FIRST = many(
    """
    Anna Marla Tom Peter Alice Rosa Henry Oscar Lucy Emma Victor Hugo Clara Martin Simon Julia Nora Felix
    Bruno Irene Daniel Sarah Paul Maria George Helen Jack Kate Leo Mona Otto Ruth Walter Ella Frank Grace
    Ivan Jane Karl Lily Robert Mary William Edward Arthur Charles Fanny Dora Philip Bertha Ned Polly Giles
    Hester Ambrose Flora Percy
    Adam Albert Alexander Alfred Amelia Amy Andrew Angela Anthony Archibald August Barbara Basil Beatrice Benjamin
    Bernard Betty Blanche Caleb Caroline Catherine Cecil Charlotte Christopher Clarence Claude Constance Cora David
    Deborah Dennis Diana Dick Dorothy Duncan Edith Edmund Edwin Eleanor Eliza Elizabeth Ellen Emily Ernest Esther
    Ethel Eugene Eva Evelyn Ferdinand Florence Francis Frederick Gabriel Geoffrey Gerald Gertrude Gilbert Gordon
    Gregory Guy Hannah Harold Harry Helena Herbert Hilda Horace Howard Humphrey Ida Isaac Isabel Jacob James Jasper
    Jenny Jessie Joan John Jonathan Joseph Josephine Joshua Judith Katherine Kitty Laura Lawrence Leonard Lewis
    Lionel Louis Louisa Lydia Mabel Margaret Margery Mark Marion Martha Matthew Maud Max Michael Mildred Millicent
    Monica Nancy Nathan Nellie Nicholas Oliver Olive Patrick Pauline Penelope Phoebe Priscilla Rachel Raymond Rebecca
    Reginald Richard Robin Roger Roland Ronald Rosamond Rose Rowland Samuel Sally Sidney Silas Stephen Susan Sybil
    Sylvia Theodore Theresa Thomas Timothy Ursula Valentine Vincent Viola Violet Walter Winifred Zachary
    """
)
LAST = many(
    """
    Quint Baker Stone Miller Wood Hill King Brook Field Hall Grey Ford West Lake Cook Fox Park Rose Snow Bird
    Marsh Black Swan Cole Wells Hart Bell Penn Lamb Moss Barton Carver Dalton Ellis Foster Graham Harding
    Jervis Kemp Lowe Morton Norris Parsons Ransome Selby Talbot Vernon Wilmot Yates Drew
    Abbott Adams Allen Andrews Arnold Ashley Austin Bailey Ball Banks Barker Barnes Barrett Barry Bates Beck Bennett
    Benson Bird Bishop Blake Bond Booth Bowen Bradley Brand Brown Bruce Burke Burton Butler Campbell Carr Carter Chapman
    Clark Clayton Coleman Collins Cooper Crane Crawford Cross Curtis Davies Dawson Day Dean Dixon Douglas Duncan Dunn
    Edwards Elliott Evans Farrell Fenton Fisher Fleming Fletcher Forbes Francis Fraser Freeman French Gibson Gilbert
    Gordon Grant Green Greene Griffith Hamilton Hammond Hardy Harper Harris Harrison Harvey Hayes Henderson Herbert
    Higgins Hobbs Holland Holmes Howard Hudson Hughes Hunt Hunter Jackson James Jenkins Johnson Jones Kelly Kennedy
    Knight Lane Lang Lawson Lee Lewis Lloyd Long Lucas Marshall Martin Mason Matthews Maxwell May Mills Mitchell Moore
    Morgan Morris Murray Nash Nelson Newton Nichols Oliver Osborne Owen Page Palmer Parker Pearson Perry Phillips
    Pierce Porter Powell Price Reed Reynolds Richards Roberts Robinson Rogers Ross Russell Sanders Saunders Scott
    Sharp Shaw Simpson Smith Spencer Stanley Stevens Stewart Stuart Sullivan Taylor Thompson Turner Walker Wallace
    Walsh Ward Warren Watson Watts Webb West White Whitney Williams Wilson Wright Young
    """
)
HELD_FIRST = many(
    """
    Agnes Ralph Miriam Edgar Sophie Conrad Bridget Cyril Matilda Rupert Wilfred Harriet
    """
)
HELD_LAST = many(
    """
    Thorn Castle Winter Drake Finch Archer Plover Hawkes Merton Sloane Bray Chester
    """
)
SYLLABLES = [a + b for a in many("b d f g k l m n p r s t v z br tr st kl") for b in many("a e i o u an or el im ut")]

CITY = many(
    """
    Paris London Rome Berlin Madrid Vienna Oslo Dublin Prague Athens Lisbon Cairo Boston Delhi Tokyo Moscow
    Warsaw Geneva Naples York Bristol Dover Bath Leeds Florence Venice Hamburg Brussels Edinburgh Glasgow
    Amsterdam Antwerp Avignon Baghdad Barcelona Basle Bombay Bologna Bordeaux Bremen Budapest Calais Calcutta
    Cambridge Canterbury Cologne Constantinople Copenhagen Cordova Corinth Cracow Damascus Danzig Dresden Durham
    Frankfort Ghent Granada Halifax Hanover Inverness Jerusalem Kiev Leipzig Limerick Lincoln Liverpool Lucerne Lyons
    Malaga Manchester Mantua Marseilles Messina Montreal Munich Newcastle Norwich Nuremberg Odessa Oxford Padua Palermo
    Philadelphia Pisa Portsmouth Ravenna Rotterdam Salisbury Salzburg Smyrna Southampton Stockholm Toulouse Trieste
    Turin Utrecht Valencia Verona Warwick Weimar Winchester Worcester
    """
)
HELD_CITY = many(
    """
    Lima Zurich Bergen Havana Milan Riga Exeter Plymouth Genoa Seville
    """
)
JOB = many(
    """
    baker doctor teacher sailor farmer painter lawyer tailor soldier judge cook hunter nurse singer writer
    smith
    """
)
COLOUR = many(
    """
    red blue green white black brown yellow grey golden silver
    """
)
ANIMAL = many(
    """
    dog cat horse bird fox cow sheep pig goat mouse bear wolf parrot monkey donkey hen
    """
)
THING = many(
    """
    key ring letter map coin book lamp knife watch box
    """
)
PLACE = many(
    """
    kitchen garden tower cellar church forest castle stable library attic barn mill harbour cave
    """
)
FOOD = many(
    """
    bread cheese apples soup rice honey cake fish eggs milk pears nuts pie ham
    """
)

# statements, the last one held out; questions, the last one held out; {n} the name, {v} the value, {o} a thing
TEMPLATES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "city": (
        (
            "{n} lives in {v}.", "The home of {n} is in {v}.", "{n} was born in {v}.", "{n} came from {v}.",
            "{n} had moved to {v}.", "It was in {v} that {n} lived.", "In {v} stood the house of {n}.",
            "{n} stayed in {v} for many years.", "{n} never left {v}.", "{n} kept a shop in {v}.",
            "{n} owned a farm near {v}.", "{n} rented a room in {v}.", "One can find {n} in {v}.",
            "{n} grew up in {v}.", "{n} had a garden in {v}.", "{n} spent the winter in {v}.",
            "{n} returned to {v}.", "The family of {n} was from {v}.", "{n} has a house in {v}.",
        ),
        (
            "Where does {n} live?", "In which town does {n} live?", "What is the town of {n}?",
            "Which city is {n} from?", "Where can one find {n}?", "Where did {n} live?", "Where is {n} at home?",
            "In what place does {n} live?", "Where did {n} come from?", "Which is the town of {n}?",
            "Where does one find {n}?", "Where was {n}?", "To which town does {n} belong?",
            "Where is the family of {n}?", "Where is the home of {n}?",
        ),
    ),
    "number": (
        (
            "The secret number of {n} is {v}.", "{n} wrote down the number {v}.", "The number of {n} was {v}.",
            "{n} had the number {v}.", "{v} was the number of {n}.", "{n} kept the number {v} in mind.",
            "On the door of {n} stood {v}.", "{n} counted to {v}.", "{n} was given the number {v}.",
            "{n} drew the number {v}.", "Number {v} fell to {n}.", "{n} remembered the number {v}.",
            "{n} paid {v} for it.", "{n} chose the number {v}.",
        ),
        (
            "What is the secret number of {n}?", "What number did {n} choose?", "What was the number of {n}?",
            "Which number did {n} have?", "What number has {n}?", "What number was given to {n}?",
            "Which is the number of {n}?", "Which number has {n}?", "What number did {n} write down?",
            "Which number belongs to {n}?",
        ),
    ),
    "job": (
        (
            "{n} works as a {v}.", "{n} is a {v}.", "{n} became a {v}.", "{n} was the {v} of the village.",
            "{n} had always been a {v}.", "By trade {n} was a {v}.", "{n} was known as a good {v}.",
            "{n} found work as a {v}.", "{n} served as a {v}.", "The {v} was called {n}.", "{n} wished to be a {v}.",
            "They took {n} on as a {v}.", "{n} made money as a {v}.", "{n} had been made a {v}.",
            "{n} earned a living as a {v}.",
        ),
        (
            "What is the job of {n}?", "What does {n} work as?", "What did {n} become?", "What was {n} by trade?",
            "Which work did {n} do?", "What was the work of {n}?", "What work did {n} do?", "As what did {n} work?",
            "What sort of work had {n}?", "What did {n} do for a living?", "Which was the trade of {n}?",
            "What is the trade of {n}?",
        ),
    ),
    "animal": (
        (
            "{n} has a {v}.", "{n} bought a {v}.", "{n} was seen with a {v}.", "The {v} belongs to {n}.",
            "A {v} followed {n} everywhere.", "{n} took care of a {v}.", "{n} kept a {v}.", "{n} fed a {v}.",
            "{n} had always wanted a {v}.", "{n} came with a {v}.", "{n} loved a {v}.",
            "In the yard of {n} stood a {v}.", "{n} was the master of a {v}.", "{n} got a {v}.", "{n} owned a {v}.",
        ),
        (
            "What animal does {n} have?", "What did {n} buy?", "What animal followed {n}?", "Which animal did {n} own?",
            "What kind of animal has {n}?", "What animal was with {n}?", "Which animal did {n} keep?",
            "What animal did {n} own?", "Which animal was with {n}?", "What did {n} keep?",
            "What animal is that of {n}?", "Which animal belongs to {n}?",
        ),
    ),
    "place": (
        (
            "{n} keeps the {o} in the {v}.", "{n} hid the {o} in the {v}.", "The {o} of {n} lay in the {v}.",
            "{n} forgot the {o} in the {v}.", "In the {v} {n} put down the {o}.", "{n} put the {o} into the {v}.",
            "{n} brought the {o} to the {v}.", "{n} lost the {o} in the {v}.",
            "The {o} that {n} had was in the {v}.", "{n} dropped the {o} in the {v}.",
            "{n} looked for the {o} and found it in the {v}.", "{n} left the {o} in the {v}.",
        ),
        (
            "Where is the {o} of {n}?", "Where did {n} hide the {o}?", "Where does {n} keep the {o}?",
            "In which place was the {o} of {n}?", "Where had {n} left the {o}?", "Where was the {o} of {n}?",
            "In which place did {n} have the {o}?", "Where did {n} lose the {o}?",
            "Where can the {o} of {n} be found?", "Where did {n} put the {o}?",
        ),
    ),
    "food": (
        (
            "{n} likes to eat {v}.", "The favourite food of {n} is {v}.", "{n} ate {v} every day.",
            "There was nothing that {n} liked better than {v}.", "{n} was very fond of {v}.", "For dinner {n} had {v}.",
            "{n} would take nothing but {v}.", "{n} never tires of {v}.", "{n} often cooks {v}.",
            "{n} calls for {v} at night.", "{n} wanted {v} for breakfast.", "{n} lives on {v}.",
            "{n} dreams of {v}.", "{n} usually takes {v}.", "There was always {v} on the table of {n}.",
            "{n} hopes to have {v}.", "{n} always asks for {v}.",
        ),
        (
            "What does {n} like to eat?", "What is the favourite food of {n}?", "What did {n} eat?",
            "What was {n} fond of?", "What does {n} eat every day?", "What did {n} have for dinner?",
            "Which food does {n} take?", "What food did {n} want?", "What would {n} eat?",
            "Which food was best liked by {n}?", "What does {n} usually eat?", "What food is {n} fond of?",
            "What food does {n} like?",
        ),
    ),
}  # fmt: skip
# kinds that are trained on and not measured: the more kinds of sentences, the less is learnt by heart
MORE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "friend": (
        (
            "{n} is a friend of {v}.", "{n} went for a walk with {v}.", "{n} often wrote to {v}.",
            "{n} was seen with {v}.", "{n} had known {v} for years.", "The best friend of {n} was {v}.",
        ),
        (
            "Who is the friend of {n}?", "Whom did {n} know?", "Who was with {n}?", "To whom did {n} write?",
            "With whom did {n} walk?", "Who is a friend of {n}?",
        ),
    ),
    "thing": (
        (
            "{n} lost the {v}.", "{n} found a {v} on the road.", "{n} gave away the {v}.",
            "The {v} was a present from {n}.", "{n} carried a {v}.", "{n} sold the {v}.",
        ),
        (
            "What did {n} lose?", "What did {n} find?", "What did {n} give away?", "What was the present from {n}?",
            "What did {n} carry?", "What did {n} sell?",
        ),
    ),
    "year": (
        (
            "{n} came into the world in {v}.", "In {v} {n} went to sea.", "It was in {v} that {n} married.",
            "{n} died in {v}.", "{n} arrived in the year {v}.", "Since {v} {n} had been away.",
        ),
        (
            "When was {n} born?", "When did {n} go to sea?", "In which year did {n} marry?", "When did {n} die?",
            "What was the year of {n}?", "In which year did {n} arrive?",
        ),
    ),
}  # fmt: skip
KINDS = tuple(TEMPLATES)
TRAINED = TEMPLATES | MORE
PAIR = "pair"  # the stepping stone: the value right behind the name
# what may stand between the name and the rest of a statement that begins with it: {w} is another noun, not the value
ASIDES = (
    ", who had a {w},", ", tired of the {w},", ", with a {w} in hand,", ", for want of a {w},", ", to earn a {w},",
    ", in spite of the {w},", ", like many a {w},", ", as everybody in the {w} knew,",
    " gave up the {w} and", " made a {w} of it and", " looked for a {w} and", " came out of the {w} and",
    " spoke of the {w} and", " had no {w} and", " left the {w} behind and", " told the {w} about it and",
    " got a {w} when {n}", " saw the {w} where {n}",
)  # fmt: skip
# what may stand before and behind a statement, so that its own words are not all that a fact looks like
BEFORE = (
    "Everybody knew that", "In those days", "As far as I know,", "It is said that", "They say that", "Long ago",
    "I remember that", "At that time", "In fact", "We heard that", "After some years", "It seems that",
)  # fmt: skip
BEHIND = (
    ", they say", ", and was glad of it", ", as I was told", " at that time", ", if I am not mistaken",
    ", and so it stayed",
    ", which surprised nobody", " in the end",
)  # fmt: skip
