"""Names of a sweep's jobs."""

import pytest

from colorlab.sweeps.names import job_name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("model=cunet ++optim.lr=0.001 ++model.activation=relu", "cunet_lr0.001_activation-relu"),
        ("seed=3 ++schedule.lr=[[0,1],[20,0.1]] ++optim.lr=1e-3", "seed3_schedule.lr0,1,20,0.1_optim.lr1e-3"),
        ("++data.root='/photos/a b' +trainer.profiler=null", "root-photosab_profiler-null"),
        ("++optim.lr=0.00044303752452182633 seed=12345678901", "lr0.000443_seed12345678901"),
        ("data=samples", "default"),
    ],
)
def test_a_job_name_is_short_and_safe_in_a_file_name(overrides: str, name: str) -> None:
    words = overrides.replace("a b", "a~b").split()
    assert job_name([word.replace("~", " ") for word in words], ["data"], "default") == name
