"""Cohorts with follow-up for the tests of risk metrics: scikit-survival's data sets, and times drawn by a known law."""

from typing import NamedTuple

import numpy as np
from sksurv.datasets import load_gbsg2, load_veterans_lung_cancer, load_whas500

DAYS_PER_YEAR = 365.25


class Cohort(NamedTuple):
    """Years, events and a risk; every second row is the development sample."""

    years: np.ndarray
    events: np.ndarray
    risk: np.ndarray

    @property
    def development(self) -> tuple[np.ndarray, np.ndarray]:
        return self.years[::2], self.events[::2]

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.years[1::2], self.events[1::2], self.risk[1::2]


def whas500() -> Cohort:
    covariates, outcome = load_whas500()
    return Cohort(outcome["lenfol"] / DAYS_PER_YEAR, outcome["fstat"], covariates["age"].to_numpy(np.float64))


def gbsg2() -> Cohort:
    covariates, outcome = load_gbsg2()
    return Cohort(outcome["time"] / DAYS_PER_YEAR, outcome["cens"], covariates["pnodes"].to_numpy(np.float64))


def veterans() -> Cohort:
    covariates, outcome = load_veterans_lung_cancer()
    fitness = covariates["Karnofsky_score"].to_numpy(np.float64)
    return Cohort(outcome["Survival_in_days"] / DAYS_PER_YEAR, outcome["Status"], -fitness)


# Data sets and years at which some had their event before, and some were followed on.
COHORTS = [(whas500, (1, 2, 3, 4, 5)), (gbsg2, (1, 2, 3, 4, 5)), (veterans, (0.25, 0.5, 1))]


def simulated(exams: int, seed: int) -> Cohort:
    """Continuous times: the risk tells who gets cancer in the first 1.5 years and nothing about later ones."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=exams)
    early = rng.exponential(size=exams) / (0.15 * np.exp(1.5 * risk))
    years = np.where(early < 1.5, early, 1.5 + rng.exponential(4, size=exams))
    return Cohort(years, np.ones(exams, dtype=bool), risk)


def censored(cohort: Cohort, seed: int) -> Cohort:
    """Follow-up ends at a time that depends on nothing, for five in six before the fifth year."""
    ends = np.random.default_rng(seed).uniform(0, 6, len(cohort.years))
    return Cohort(np.minimum(cohort.years, ends), cohort.years <= ends, cohort.risk)


def visits() -> tuple[Cohort, np.ndarray, Cohort]:
    """150 patients with 1 to 3 exams of continuous times, and 300 exams of development."""
    rng = np.random.default_rng(8)
    patients = np.repeat([f"p{i:03}" for i in range(150)], rng.integers(1, 4, 150))
    exams = censored(simulated(len(patients), 1), 2)
    return exams._replace(risk=np.round(exams.risk, 1)), patients, censored(simulated(300, 3), 4)
