"""Signs in a text of what it wants for an answer. English words; `\\boxed`, code and JSON need none.

Patterns look for commands, not for subjects: a question about JSON wants no JSON.
"""

from __future__ import annotations

import re

_BEGINS = (  # where a command may begin
    r"(?:^|[.!?:;,\n(]\s*|\b(?:please|pls|and|then|also|now|kindly|just|to|me|or|"
    r"(?:can|could|would|will) you(?: please)?|i (?:want|need) you to|help me(?: to)?)\s+)"
)
_FORMATS = r"(?:json|yaml|yml|xml|csv|toml|jsonl|ndjson|protobuf)"
_GIVES = (
    r"(?:return|respond|reply|output|answer|give|format|produce|emit|extract|parse|convert|generate|provide|create|"
    r"write|fill)"
)
_PROGRAMS = (
    r"(?:functions?|scripts?|programs?|class(?:es)?|code|query|queries|regex(?:es)?|regexp|regular expressions?|"
    r"endpoints?|apis?|components?|unit tests?|test cases?|tests|modules?|apps?|applications?|website|web ?page|"
    r"parsers?|compilers?|sql|bugs?|dockerfile|makefile|workflows?|cli|libraries|library|decorators?|hooks?|"
    r"migrations?|one-liner|snippets?|macros?|plugins?|servers?|schemas?|methods?|navbar|html|css|cache|iterator|"
    r"in (?:python|rust|go|golang|java|javascript|typescript|c\+\+|c#|ruby|kotlin|swift|bash|php|haskell|scala))"
)

BOXED = re.compile(r"\\boxed\b")
TELL = re.compile(
    _BEGINS + r"(?:explain|justify|prove|demonstrate|(?:show|verify) that|describe|discuss|elaborate|summari[sz]e|"
    r"translate|rewrite|rephrase|paraphrase|proofread|brainstorm|compose|outline|"
    r"show (?:your|all|the|every|me)\s+(?:work(?:ing)?|steps?|reasoning|how)|"
    r"walk me through|show me|say why|tell me (?:about|why|how)|"
    r"give (?:me )?(?:a |the )?(?:step-by-step |detailed |full )?(?:explanation|proof|derivation|summary|reasons?)|"
    r"(?:give|show|write|provide) (?:me )?(?:a |the )?(?:step-by-step|detailed|full|complete) (?:solution|working))\b",
    re.IGNORECASE,
)
PROSE = re.compile(
    _BEGINS + r"(?:write|draft|make|create|generate|give me|need)\b[^.?!\n]{0,60}\b(?:poems?|story|stories|essays?|"
    r"e-?mails?|letters? (?:to|of)|speech(?:es)?|songs?|haikus?|limericks?|articles?|blog|posts?|reports?|plans?|"
    r"paragraphs?|summary|reviews?|dialogues?|jokes?|captions?|slogans?)\b",
    re.IGNORECASE,
)
STRUCTURED = re.compile(
    rf"\b{_GIVES}\b[^.\n]{{0,80}}\b{_FORMATS}\b|\b(?:as|in|into|using|valid)\s+(?:an?\s+|the\s+)?(?:valid\s+)?{_FORMATS}\b"
    rf"|\bjson (?:object|array|list|schema|format|only)\b|\b(?:this|following|given) schema\b",
    re.IGNORECASE,
)
TOOLS = re.compile(
    r"<(?:tools?|tool_call|function_calls?|environment_details|available_tools)>|\bfunction signatures\b"
    r"|\b(?:access to|use|call|using|following|these|available)\b[^.\n]{0,30}\btools?\b|\btool calls?\b"
    r"|\bfunction calling\b|\bcoding agent\b",
    re.IGNORECASE,
)
PROGRAM = re.compile(
    _BEGINS + r"(?:write|implement|create|build|develop|code|refactor|debug|fix|port|optimi[sz]e|make|generate|"
    rf"complete|add|convert|set up|rename)\b[^.?!\n]{{0,60}}\b{_PROGRAMS}(?![\w'])",
    re.IGNORECASE,
)
CODE_SHOWN = re.compile(
    r"```|^\s*(?:def \w+\(|class \w+[(:{ ]|#include\b|import \w|from \w[\w.]* import |public \w+ |fn \w+\(|func \w+\()"
    r"|\bTraceback \(|\bTypeError\b|\bNullPointerException\b|\bconsole\.log\b|\bselect\b.{1,80}\bfrom\b|</\w+>|"
    r"\b\w+\.(?:py|js|ts|tsx|jsx|rs|go|java|cpp|cs|rb|php|sh|sql|yml|yaml|toml)\b",
    re.IGNORECASE | re.MULTILINE,
)
_LITTLE = (
    r"(?:numbers?|integers?|letters?|words?|names?|values?|results?|answers?|options?|choices?|labels?|digits?|"
    r"expressions?|yes|no|true|false|dates?|years?|index|categor(?:y|ies)|class)"
)
BRIEF = re.compile(
    rf"\b(?:answer|reply|respond|output|return|give|state|print|provide|write|say)\b[^.\n]{{0,60}}"
    rf"\b(?:only|just|nothing but|nothing except|solely)\b[^.\n]{{0,40}}\b{_LITTLE}\b"
    rf"|\b(?:only|just) the (?:final |correct |right )?{_LITTLE}\b"
    rf"|\b(?:in|with|as|using) (?:exactly |only |just )?(?:one|a single|1) {_LITTLE}\b"
    r"|\b(?:answer|reply|respond)(?: with| by saying)?:? ['\"]?(?:yes|true)['\"]?(?: or |/)['\"]?(?:no|false)\b"
    r"|\byes or no\b|\btrue or false\b"
    r"|\b(?:the|your) (?:final )?answer (?:should|must) be (?:an?|one|in the form)\b"
    r"|\b(?:final )?answer:['\"`*]{0,3} ?(?:\$|<|\[|\()"
    r"|\banswer:\s*\Z",
    re.IGNORECASE,
)
_LISTED = re.compile(r"^\s*[-*]?\s*[(\[]?([A-J])[)\].:]\s+\S|\(([A-J])\)\s*\S", re.MULTILINE)
_ASKS = re.compile(
    r"\?|\b(?:which|what|who|choose|select|pick|correct|answer|best|option|multiple[- ]choice)\b", re.IGNORECASE
)
TAIL = 400  # characters behind the last choice, at most: more is another text


def choices(text: str) -> tuple[str, ...]:
    """Returns the labels of the choices that a question ends with; empty: it ends with none."""
    found = [(place.group(1) or place.group(2), place.end()) for place in _LISTED.finditer(text)]
    begin = max((number for number, (label, _) in enumerate(found) if label == "A"), default=None)
    if begin is None:
        return ()
    labels = [label for label, _ in found[begin:]]
    run = next((n for n, label in enumerate(labels) if label != chr(ord("A") + n)), len(labels))
    last = found[begin + run - 1][1]
    if run < 2 or len(text) - last > TAIL or not _ASKS.search(text):
        return ()
    return tuple(labels[:run])
