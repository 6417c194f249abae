"""`python -m deploy.demo up|reset|fault`: the whole product on one machine, with nothing to install by hand."""

import argparse
import sys
from pathlib import Path

from deploy.demo.state import HOME, DemoError, Home

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Entry point of `make demo`, `make demo-reset` and `make demo-fault`."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / HOME, help="folder for the demo's data (default .run/demo)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the demo, or continue with the data kept")
    up.add_argument("--port", type=int, default=8000, help="port of the web page (default 8000)")
    up.add_argument("--days", type=int, default=45, help="days of history at least (default 45)")
    up.add_argument("--served", type=Path, help="keep what the simulated devices answered, one JSON line each")
    commands.add_parser("reset", help="delete the demo's data and start over")
    fault = commands.add_parser("fault", help="silence a simulated device, bring it back, or damage the building")
    how = "DEVICE [FAULT [SIZE [POINT]]], clear DEVICE [FAULT], or kinds; nothing lists what is broken"
    fault.add_argument("arguments", nargs="*", help=how)
    options = parser.parse_args()
    home = Home(options.home)
    try:
        if options.command == "up":
            from deploy.demo.up import Demo

            demo = Demo(ROOT, home, web_port=options.port, history_days=options.days, served=options.served)
            demo.run()
        elif options.command == "reset":
            home.reset()
            print("The demo's data are deleted; `make demo` starts over.")
        else:
            from deploy.demo.fault import run_fault

            run_fault(home, options.arguments)
    except DemoError as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
