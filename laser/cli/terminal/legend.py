"""What the figures and columns of the terminal view mean."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

VIEW: Mapping[str, str] = {
    "Arrivals": "requests a second: the controller's estimate ± its standard deviation, and as counted over 10 s",
    "In the system": "requests that are decoded or wait",
    "Mean latency": "from a request's arrival to its last token, over the last minutes; 95 % of the replies were below "
    "the second figure",
    "Within SLO": "share of the replies that took no longer than they should (slo_s, --slo-s)",
    "Shadow price": "right answers that waiting for 1,000 more tokens would cost all users, at this load",
    "Risk": "mean charge of the requests so far, of what is kept on average: how likely it is at most that stopping "
    "early has spoilt a right answer; saved: to be spent in bursts; price: right answers that a unit costs now",
    "Decided by": "what the limits come from: the policy map, solved for this load; what stands in for it; or the "
    "policy that does without",
    "Class": "how long a thought the prompt will need, as told from the prompt; any: the limits are the same for all",
    "Threshold": "how sure a trial answer must be for its thought to be closed; never: thoughts are not probed",
    "Budget": "thinking tokens after which a thought is closed; none: there is no such limit",
    "SLO": "the longest that a reply should take",
    "Within": "share of the replies that kept the SLO",
    "Goes to": "threshold and budget to which the limits are moving",
    "Planned accuracy": "share of right answers that the plan expects of the class",
    "No.": "requests in the order in which they came",
    "Stage": "waiting, thinking or answering",
    "Thought/budget": "thinking tokens so far, and after how many the thought is closed",
    "Confidence": "how sure the last trial answer was, of the threshold",
    "Age": "since the request came",
    "Why": "why the thought ended",
    "Thought": "thinking tokens",
    "Probes": "how often the thought was asked for a trial answer",
    "Latency": "from the request's arrival to its last token",
    "Estimated": "what the profile's questions saved at the limits that were in force here: of questions like those",
    "s of decoding": "the engine's time for the tokens saved, at the batches seen; not the wait in the queue",
}
"""Each figure and column of the view, and what it means."""


def legend(meanings: Mapping[str, str]) -> Table:
    """Returns the meanings as a table of two columns, whose texts wrap."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(style="dim")
    for name, meaning in meanings.items():
        table.add_row(Text(name), Text(meaning))
    return table
