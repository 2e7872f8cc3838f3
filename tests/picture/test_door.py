"""The public door of attnlang.picture."""

import subprocess
import sys

import attnlang.picture


def test_import_does_not_load_matplotlib() -> None:
    code = (
        "import sys, attnlang.picture; "
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'matplotlib', 'torch', 'rich'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout == "[]\n"


def test_every_public_name_exists() -> None:
    for name in attnlang.picture.__all__:
        assert hasattr(attnlang.picture, name)
