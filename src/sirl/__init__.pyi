from sirl import guard as guard
from sirl.errors import SirlError as SirlError
from sirl.workflows.notebook import compare as compare
from sirl.workflows.notebook import evaluate as evaluate
from sirl.workflows.notebook import load as load
from sirl.workflows.notebook import probe as probe
from sirl.workflows.notebook import train as train

FUNCTIONS: tuple[str, ...]
__version__: str
