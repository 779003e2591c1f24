"""The WebUI's install hook: adds the packages that are missing, and touches none that is there.

Run by the WebUI at every start, before its own imports (modules/launch_utils.py, run_extension_installer). Both
WebUIs pin torch, gradio, safetensors, numpy, pillow, omegaconf, k-diffusion and tqdm themselves; only what they do
not have is listed here, in versions that need nothing of theirs changed.
"""

import importlib.util
import sys

NEEDED = {
    "matplotlib": "matplotlib>=3.7,<4",
    "lycoris": "lycoris-lora==3.4.0",
    "optuna": "optuna>=4,<6",
    "cmaes": "cmaes>=0.10",
    "sqlalchemy": "sqlalchemy>=2,<3",
    "psycopg2": "psycopg2-binary>=2.9,<3",
    "pymysql": "PyMySQL>=1.1,<2",
}
"""Module -> what is installed where it is missing."""
if sys.version_info < (3, 11):
    NEEDED["tomli"] = "tomli>=2,<3"


def missing() -> list[str]:
    """Requirements whose module is not installed in any version; looked for only, not imported."""
    return [requirement for module, requirement in NEEDED.items() if importlib.util.find_spec(module) is None]


def pins() -> list[str]:
    """What is installed already, as constraints: pip must find versions that fit it or fail."""
    import importlib.metadata

    lines = []
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if name and version and "+" not in version:
            lines.append(f"{name}=={version}")
    return lines


def install(requirements: list[str]) -> int:
    """pip's exit code."""
    import subprocess
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins()), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-c", str(constraints)]
        return subprocess.run([*command, *requirements], check=False).returncode


def main() -> None:
    wanted = missing()
    if not wanted:
        return
    print(f"Astolfo: installing {', '.join(wanted)}; nothing that is installed is changed")
    if install(wanted) != 0:
        print(f"Astolfo: {', '.join(wanted)} could not be installed; what needs it will say so", file=sys.stderr)


if __name__ == "__main__":
    main()
