"""Linear attention with decay: one recurrence in four forms, trainable, with states.

``chunkwise`` is the one to use; ``step`` decodes; ``parallel`` and ``recurrent`` are the same
function written as the definitions have it.
"""

from attnlang.backends.linear.chunkwise import chunkwise
from attnlang.backends.linear.form import State
from attnlang.backends.linear.parallel import parallel
from attnlang.backends.linear.prefix import PrefixState
from attnlang.backends.linear.recurrent import recurrent, step
from attnlang.backends.linear.softmax import prefix_softmax
from attnlang.compiler.ir.horizon import horizon

__all__ = [
    "PrefixState",
    "State",
    "chunkwise",
    "horizon",
    "parallel",
    "prefix_softmax",
    "recurrent",
    "step",
]
