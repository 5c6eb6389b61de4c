"""What counts of what arrived in a repository: inspected, recorded in the manifest, and everything else set aside.

It decides about files and snapshots, never about runs, and removes nothing that was admitted.
"""

from pbs.admission.aside import discard
from pbs.admission.desk import Desk
from pbs.admission.exact import begin_own_work, differences, settle
from pbs.admission.judgement import Place
from pbs.admission.packs import prove

__all__ = ["Desk", "Place", "begin_own_work", "differences", "discard", "prove", "settle"]
