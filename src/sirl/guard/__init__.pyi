from sirl.workflows.guard.notebook import calibrate as calibrate
from sirl.workflows.guard.notebook import evaluate as evaluate

FUNCTIONS: tuple[str, ...]
