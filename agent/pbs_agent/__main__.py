"""`python3 -m pbs_agent`: the same as the installed command. It never does anything of its own."""

import sys

from pbs_agent.wrapper import main

sys.exit(main())
