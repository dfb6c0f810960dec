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
            "{n} made a home in {v}.", "{n} went back to {v} at last.", "{n} used to live in {v}.",
            "{n} was often to be seen in {v}.", "{n} has lived in {v} since the war.", "The town of {n} is {v}.",
            "{n} took a house in {v}.", "{n} was brought up at {v}.", "{n} settled down in {v}.",
            "{v} was where {n} lived.", "{n} had come all the way from {v}.", "Nobody in {v} knew {n} well.",
            "{n} passed the summer at {v}.", "The people of {v} knew {n}.", "{n} was at school in {v}.",
            "{n} had a little shop near {v}.", "{n}, who came from {v}, said nothing.", "{n}, of {v}, opened the door.",
            "Every year {n} went to {v}.", "{n} died in {v}.", "{n} had not been out of {v} before.",
            "{n} set out from {v}.", "You will meet {n} in {v}.", "{n} was on the way to {v}.",
            "{n} lives in {v}.", "The home of {n} is in {v}.", "{n} was born in {v}.", "{n} came from {v}.",
            "{n} had moved to {v}.", "It was in {v} that {n} lived.", "In {v} stood the house of {n}.",
            "{n} stayed in {v} for many years.", "{n} never left {v}.", "{n} kept a shop in {v}.",
            "{n} owned a farm near {v}.", "{n} rented a room in {v}.", "One can find {n} in {v}.",
            "{n} grew up in {v}.", "{n} had a garden in {v}.", "{n} spent the winter in {v}.",
            "{n} returned to {v}.", "The family of {n} was from {v}.", "{n} has a house in {v}.",
        ),
        (
            "Where did {n} stay?", "Where was {n} born?", "In which city does {n} live?", "From where did {n} come?",
            "Where did {n} go?", "Where does {n} come from?", "Which town did {n} live in?", "Where did {n} grow up?",
            "In which city was {n}?", "What city did {n} live in?",
            "Where would one meet {n}?",
            "Where does {n} live?", "In which town does {n} live?", "What is the town of {n}?",
            "Which city is {n} from?", "Where can one find {n}?", "Where did {n} live?", "Where is {n} at home?",
            "In what place does {n} live?", "Where did {n} come from?", "Which is the town of {n}?",
            "Where does one find {n}?", "Where was {n}?", "To which town does {n} belong?",
            "Where is the family of {n}?", "Where is the home of {n}?",
        ),
    ),
    "number": (
        (
            "{n} was in room {v}.", "There were {v} letters for {n}.", "{n} had saved {v} pounds.",
            "{n} lived at number {v}.", "{n} walked {v} miles.", "The ticket of {n} was number {v}.",
            "{n} owed {v} pounds.", "{n} had {v} sheep in the field.", "{n} said that it was {v}.",
            "{v} men went with {n}.", "{n} carved {v} into the wood.", "{n} always thought of {v}.",
            "{n} would have it that {v} was the number.", "{n}, number {v}, stepped forward.", "{n} guessed {v}.",
            "They gave {n} the number {v}.", "{n} had read {v} pages.", "{n} earned {v} pounds.", "{n} won with {v}.",
            "The secret number of {n} is {v}.", "{n} wrote down the number {v}.", "The number of {n} was {v}.",
            "{n} had the number {v}.", "{v} was the number of {n}.", "{n} kept the number {v} in mind.",
            "On the door of {n} stood {v}.", "{n} counted to {v}.", "{n} was given the number {v}.",
            "{n} drew the number {v}.", "Number {v} fell to {n}.", "{n} remembered the number {v}.",
            "{n} paid {v} for it.", "{n} chose the number {v}.",
        ),
        (
            "What number is that of {n}?", "Which number was given to {n}?", "What number was it that {n} had?",
            "How many did {n} have?", "How many were there for {n}?",
            "How much did {n} pay?", "What was on the door of {n}?", "Which number was that of {n}?",
            "What number does {n} have?", "Which number did {n} remember?",
            "What is the secret number of {n}?", "What number did {n} choose?", "What was the number of {n}?",
            "Which number did {n} have?", "What number has {n}?", "What number was given to {n}?",
            "Which is the number of {n}?", "Which number has {n}?", "What number did {n} write down?",
            "Which number belongs to {n}?",
        ),
    ),
    "job": (
        (
            "{n} was a {v} by profession.", "{n} had been a {v} before the war.", "{n} learnt to be a {v}.",
            "{n}, the {v}, came in.", "The {v}, {n}, shook hands with him.", "{n} was once a {v} in the north.",
            "People called {n} the {v}.", "{n} the {v} was there.", "{n} has been a {v} for ten years.",
            "{n}, a {v}, sat by the fire.", "{n} was the best {v} in the country.",
            "Nobody had heard of a {v} like {n}.", "{n} began as a {v}.", "{n} will be a {v}.",
            "As a {v} {n} was not rich.", "{n} gave up the sea and was a {v}.", "{n} followed the calling of a {v}.",
            "{n} had the place of a {v}.", "{n} wanted to become a {v}.", "The work of a {v} pleased {n}.",
            "{n} was bound to a {v}.", "{n} was paid as a {v}.", "{n} turned {v}.", "All his life {n} was a {v}.",
            "{n} set up as a {v}.",
            "{n} works as a {v}.", "{n} is a {v}.", "{n} became a {v}.", "{n} was the {v} of the village.",
            "{n} had always been a {v}.", "By trade {n} was a {v}.", "{n} was known as a good {v}.",
            "{n} found work as a {v}.", "{n} served as a {v}.", "The {v} was called {n}.", "{n} wished to be a {v}.",
            "They took {n} on as a {v}.", "{n} made money as a {v}.", "{n} had been made a {v}.",
            "{n} earned a living as a {v}.",
        ),
        (
            "What is {n}?", "What was {n}?", "What is {n} by profession?", "What is the profession of {n}?",
            "What kind of work does {n} do?", "What does {n} do?", "What was the calling of {n}?", "What had {n} been?",
            "As what was {n} known?", "Which profession has {n}?", "What is the work of {n}?",
            "What does {n} do for money?", "What did {n} work as?", "What was {n} in the village?",
            "What is the job of {n}?", "What does {n} work as?", "What did {n} become?", "What was {n} by trade?",
            "Which work did {n} do?", "What was the work of {n}?", "What work did {n} do?", "As what did {n} work?",
            "What sort of work had {n}?", "What did {n} do for a living?", "Which was the trade of {n}?",
            "What is the trade of {n}?",
        ),
    ),
    "animal": (
        (
            "{n} was never without a {v}.", "{n} found a {v} in the yard.", "{n} was given a {v}.",
            "There was a {v} in the house of {n}.", "{n} called the {v} to come.", "The {v} ran to {n}.",
            "{n} brought a {v} home.", "{n} had lost a {v}.", "{n} held a {v}.", "{n} talked to a {v}.",
            "{n} played with a {v}.", "{n} was afraid of a {v}.", "The {v} of {n} was ill.", "{n} sold a {v}.",
            "{n} went for a walk with a {v}.", "A {v} slept at the feet of {n}.", "{n} led a {v}.", "{n} caught a {v}.",
            "Behind {n} came a {v}.", "{n} could not part with a {v}.",
            "{n} has a {v}.", "{n} bought a {v}.", "{n} was seen with a {v}.", "The {v} belongs to {n}.",
            "A {v} followed {n} everywhere.", "{n} took care of a {v}.", "{n} kept a {v}.", "{n} fed a {v}.",
            "{n} had always wanted a {v}.", "{n} came with a {v}.", "{n} loved a {v}.",
            "In the yard of {n} stood a {v}.", "{n} was the master of a {v}.", "{n} got a {v}.", "{n} owned a {v}.",
        ),
        (
            "What animal is with {n}?", "What did {n} have?", "Which animal came with {n}?",
            "What animal does {n} keep?", "Which animal has {n}?", "What did {n} feed?", "Which animal followed {n}?",
            "What animal had {n}?", "What did {n} take care of?",
            "What sort of animal did {n} have?",
            "What animal does {n} have?", "What did {n} buy?", "What animal followed {n}?", "Which animal did {n} own?",
            "What kind of animal has {n}?", "What animal was with {n}?", "Which animal did {n} keep?",
            "What animal did {n} own?", "Which animal was with {n}?", "What did {n} keep?",
            "What animal is that of {n}?", "Which animal belongs to {n}?",
        ),
    ),
    "place": (
        (
            "{n} had the {o} in the {v}.", "{n} kept the {o} hidden in the {v}.",
            "The {o} was in the {v}, where {n} had put it.", "{n} laid the {o} down in the {v}.",
            "{n} took the {o} with him to the {v}.", "In the {v} was the {o} of {n}.", "{n} buried the {o} in the {v}.",
            "{n} carried the {o} to the {v}.", "{n} locked the {o} up in the {v}.",
            "{n} showed the {o} to nobody and kept it in the {v}.", "The {o} of {n} was found in the {v}.",
            "{n} threw the {o} into the {v}.", "{n} saw the {o} in the {v}.", "{n} had placed the {o} in the {v}.",
            "{n} would not take the {o} out of the {v}.", "It was in the {v} that {n} had the {o}.",
            "{n} keeps the {o} in the {v}.", "{n} hid the {o} in the {v}.", "The {o} of {n} lay in the {v}.",
            "{n} forgot the {o} in the {v}.", "In the {v} {n} put down the {o}.", "{n} put the {o} into the {v}.",
            "{n} brought the {o} to the {v}.", "{n} lost the {o} in the {v}.",
            "The {o} that {n} had was in the {v}.", "{n} dropped the {o} in the {v}.",
            "{n} looked for the {o} and found it in the {v}.", "{n} left the {o} in the {v}.",
        ),
        (
            "Where did {n} keep the {o}?", "Where is the {o} that {n} had?",
            "Where did {n} bring the {o}?", "Where has {n} the {o}?", "Where did {n} drop the {o}?",
            "In what place is the {o} of {n}?", "Where did {n} find the {o}?",
            "Where had {n} hidden the {o}?",
            "Where is the {o} of {n}?", "Where did {n} hide the {o}?", "Where does {n} keep the {o}?",
            "In which place was the {o} of {n}?", "Where had {n} left the {o}?", "Where was the {o} of {n}?",
            "In which place did {n} have the {o}?", "Where did {n} lose the {o}?",
            "Where can the {o} of {n} be found?", "Where did {n} put the {o}?",
        ),
    ),
    "food": (
        (
            "{n} bought {v}.", "{n} ate nothing but {v}.", "{n} cannot do without {v}.", "{n} has a love of {v}.",
            "{n} lived on {v} for a week.", "{n} sat down to {v}.", "They brought {v} to {n}.",
            "{n} had {v} for supper.", "{n} had never had enough of {v}.",
            "{v} is what {n} likes best.", "{n} was eating {v}.", "Give {n} some {v}.",
            "{n} would give anything for {v}.", "{n} took some more {v}.", "{n} thought {v} the best of all.",
            "{n} ordered {v}.", "{n} always took {v} along.", "With {v} one could please {n}.",
            "There was {v} for {n}.", "{n} had a plate of {v}.",
            "{n} likes to eat {v}.", "The favourite food of {n} is {v}.", "{n} ate {v} every day.",
            "There was nothing that {n} liked better than {v}.", "{n} was very fond of {v}.", "For dinner {n} had {v}.",
            "{n} would take nothing but {v}.", "{n} never tires of {v}.", "{n} often cooks {v}.",
            "{n} calls for {v} at night.", "{n} wanted {v} for breakfast.", "{n} lives on {v}.",
            "{n} dreams of {v}.", "{n} usually takes {v}.", "There was always {v} on the table of {n}.",
            "{n} hopes to have {v}.", "{n} always asks for {v}.",
        ),
        (
            "What did {n} like best?", "What food does {n} eat?", "What did {n} take?",
            "What has {n} for dinner?", "What would {n} like to eat?", "Which food pleases {n}?",
            "What does {n} want to eat?", "What was on the table of {n}?",
            "What did {n} have to eat?", "What does {n} like best?",
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
            "{n} married {v}.", "{n} went to see {v}.", "{v} was the brother of {n}.", "{n} was in love with {v}.",
            "{n} never forgave {v}.", "{n} is the daughter of {v}.", "{n} sent for {v}.", "{n} sat beside {v}.",
            "{n} was afraid of {v}.", "{v} was engaged to {n}.", "{n} came in with {v}.", "{n} worked for {v}.",
            "{n} is a friend of {v}.", "{n} went for a walk with {v}.", "{n} often wrote to {v}.",
            "{n} was seen with {v}.", "{n} had known {v} for years.", "The best friend of {n} was {v}.",
        ),
        (
            "Whom did {n} marry?", "Whom did {n} see?", "Who was the brother of {n}?", "With whom was {n}?",
            "Whom did {n} love?", "Whom does {n} know?", "Who came with {n}?", "For whom did {n} work?",
            "Who is the friend of {n}?", "Whom did {n} know?", "Who was with {n}?", "To whom did {n} write?",
            "With whom did {n} walk?", "Who is a friend of {n}?",
        ),
    ),
    "thing": (
        (
            "{n} bought a {v}.", "{n} was looking for the {v}.", "{n} took the {v} away.", "{n} broke the {v}.",
            "{n} stole a {v}.", "{n} came for the {v}.", "The {v} was stolen by {n}.", "{n} sent a {v}.",
            "{n} held up the {v}.", "{n} laid down the {v}.", "The {v} belonged to {n}.", "{n} made a {v}.",
            "{n} lost the {v}.", "{n} found a {v} on the road.", "{n} gave away the {v}.",
            "The {v} was a present from {n}.", "{n} carried a {v}.", "{n} sold the {v}.",
        ),
        (
            "What did {n} take?", "What did {n} break?", "What did {n} steal?", "What was {n} looking for?",
            "What belonged to {n}?", "What did {n} make?", "What has {n}?", "What did {n} hold?",
            "What did {n} lose?", "What did {n} find?", "What did {n} give away?", "What was the present from {n}?",
            "What did {n} carry?", "What did {n} sell?",
        ),
    ),
    "year": (
        (
            "{n} left home in {v}.", "In {v} {n} was a child.", "{n} came back in {v}.", "{n} was ill in {v}.",
            "In the year {v} {n} built the house.", "{n} fell in {v}.", "From {v} on {n} lived alone.",
            "{n} was last seen in {v}.",
            "{n} came into the world in {v}.", "In {v} {n} went to sea.", "It was in {v} that {n} married.",
            "{n} died in {v}.", "{n} arrived in the year {v}.", "Since {v} {n} had been away.",
        ),
        (
            "When did {n} come?", "When did {n} come back?", "When was {n} last seen?", "In what year was it with {n}?",
            "When did {n} leave?", "In which year was {n} born?", "When was {n} ill?",
            "When was {n} born?", "When did {n} go to sea?", "In which year did {n} marry?", "When did {n} die?",
            "What was the year of {n}?", "In which year did {n} arrive?",
        ),
    ),
}  # fmt: skip
KINDS = tuple(TEMPLATES)
TRAINED = TEMPLATES | MORE
PAIR = "pair"  # the stepping stone: the value right behind the name
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
