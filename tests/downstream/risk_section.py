"""Settings of the risk models as the tests take them: few epochs, the encoder frozen."""

from pathlib import Path

from pipeline.downstream.risk_finetune import Tuning
from pipeline.params import read_params
from pipeline.sections import Risk

PROFILE = read_params(Path(__file__).resolve().parents[2]).profile
NOWHERE = Path("nowhere")  # a frozen encoder needs neither images nor the encoder itself
UNUSED = Tuning(NOWHERE, NOWHERE, PROFILE.downstream, PROFILE.augment, PROFILE.compute)
FROZEN = Risk(
    cohort="small",
    encoder="frozen",
    prior_exams=True,
    horizon_years=5,
    epochs=4,
    learning_rate=3e-3,
    exclude_screen_detected=False,
    mirai_compat=False,
)
