"""Limits and TRES texts, most of them recorded on Slurm 22.05.8."""

from __future__ import annotations

import pytest

from condhpc.slurm_limits import (
    Association,
    GpuCount,
    Limits,
    Qos,
    gpus_of_tres,
    option_of,
    parse_associations,
    parse_config,
    parse_gres,
    parse_partitions,
    parse_qos,
)

CONFIG = """\
Configuration data as of 2026-11-23T21:29:44
AccountingStorageEnforce = associations,limits,qos
AccountingStorageType   = accounting_storage/slurmdbd
AccountingStoreFlags    = (null)
ClusterName             = dev23920
MaxArraySize            = 1001
MaxJobCount             = 10000
MinJobAge               = 300 sec
SchedulerParameters     = bf_interval=1,max_array_tasks=500,sched_interval=1
SelectTypeParameters    = CR_CORE_MEMORY
SLURM_VERSION           = 22.05.8

Cgroup Support Configuration:
ClusterName             = not this one

Slurmctld(primary) at vm is UP
"""


def limits(**changes: object) -> Limits:
    """Limits of a cluster without any bound but MaxArraySize, with changes."""
    fields: dict[str, object] = {
        "slurm_version": "22.05.8",
        "cluster": "c",
        "max_array_size": 1001,
        "max_array_tasks": None,
        "max_job_count": 10_000,
        "min_job_age_s": 300,
        "partitions": (),
        "associations": (),
        "qos": (),
        "jobs_queued": 0,
    }
    return Limits(**{**fields, **changes})  # type: ignore[arg-type]


def association(account: str = "a", **changes: object) -> Association:
    """An association on cluster c without limits, with changes."""
    fields: dict[str, object] = {
        "cluster": "c",
        "account": account,
        "partition": "",
        "max_jobs": None,
        "max_submit": None,
        "grp_submit": None,
        "default_qos": "",
        "qos": ("normal",),
    }
    return Association(**{**fields, **changes})  # type: ignore[arg-type]


def qos(name: str, max_submit: int | None) -> Qos:
    """A QOS with only a submit limit."""
    return Qos(name, None, max_submit, None, "", None, "")


def test_the_configuration_is_read() -> None:
    """Keys and values, (null) as empty, the first of two equal keys, no heading taken for a key."""
    config = parse_config(CONFIG)
    assert config["MaxArraySize"] == "1001"
    assert config["AccountingStoreFlags"] == ""
    assert config["ClusterName"] == "dev23920"
    assert config["SLURM_VERSION"] == "22.05.8"
    assert len(config) == 10


def test_an_option_is_found_in_a_parameter_list() -> None:
    """SchedulerParameters is a comma list of words and pairs."""
    parameters = parse_config(CONFIG)["SchedulerParameters"]
    assert option_of(parameters, "max_array_tasks") == "500"
    assert option_of("bf_continue", "bf_continue") == ""
    assert option_of(parameters, "array_tasks") is None


def test_partitions_are_joined_over_their_kinds_of_node() -> None:
    """One partition from several rows: nodes added, GRES united, the star meaning the default."""
    text = """\
CLUSTER: dev23920
main*|up|1-00:00:00|3|idle|gpu:h100:4(S:0-1)|191000
main*|up|1-00:00:00|1|mixed|gpu:h100:8,shard:8|515000+
short|up|10:00|4|idle|gpu:h100:4|64000
big|down|infinite|1|down*|(null)|N/A
""".replace("|", "\x1f")
    main, short, big = parse_partitions(text)
    assert (main.name, main.is_default, main.is_up, main.max_time_min) == ("main", True, True, 1440)
    assert (main.nodes, main.gres) == (4, {"gpu:h100": 8, "shard": 8})
    assert (short.is_default, short.max_time_min, short.gres) == (False, 10, {"gpu:h100": 4})
    assert (big.is_up, big.max_time_min, big.gres) == (False, None, {})
    assert [part.mem_mb for part in (main, short, big)] == [515000, 64000, None]


def test_associations_and_qos_are_read() -> None:
    """Blank is no limit; times become minutes."""
    rows = parse_associations("dev23920|root||||||normal\ndev23920|lab|gpu|4|200|1000|long|normal,long\n")
    assert rows[0] == Association("dev23920", "root", "", None, None, None, "", ("normal",))
    assert rows[1] == Association("dev23920", "lab", "gpu", 4, 200, 1000, "long", ("normal", "long"))
    found = parse_qos("normal||||||\nlong|2|50||gres/gpu=8|2-00:00:00|DenyOnLimit\n")
    assert found[0] == Qos("normal", None, None, None, "", None, "")
    assert found[1] == Qos("long", 2, 50, None, "gres/gpu=8", 2880, "DenyOnLimit")


def test_the_smaller_bound_limits_an_array() -> None:
    """MaxArraySize and max_array_tasks both bind."""
    assert limits().elements_per_array == 1001
    assert limits(max_array_tasks=500).elements_per_array == 500
    assert limits(max_array_tasks=5000).elements_per_array == 1001


def test_without_accounting_no_submit_limit_is_known() -> None:
    """No association and no QOS bound nothing."""
    assert limits().max_submit() is None


def test_the_smallest_of_association_and_qos_counts() -> None:
    """The default QOS, the only QOS or the named one bounds beside the association."""
    both = limits(associations=(association(max_submit=200),), qos=(qos("normal", 150), qos("long", 50)))
    assert both.max_submit() == 150
    assert both.max_submit(qos="long") == 50
    long = limits(associations=(association(default_qos="long"),), qos=(qos("normal", 150), qos("long", 50)))
    assert long.max_submit() == 50


def test_only_associations_that_fit_count() -> None:
    """Other clusters, accounts and partitions bind nothing; of several that fit the loosest counts."""
    rows = (
        association("a", max_submit=10),
        association("b", max_submit=20),
        association("b", max_submit=5, cluster="other"),
        association("b", max_submit=3, partition="debug"),
    )
    several = limits(associations=rows)
    assert several.max_submit(account="a") == 10
    assert several.max_submit(account="b", partition="gpu") == 20
    assert several.max_submit() == 20
    assert limits(associations=(*rows, association("free"))).max_submit() is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu:h100:4", {"gpu:h100": 4}),
        ("gpu:h100:4(S:0-1),gpu:a100:2(IDX:0,2)", {"gpu:h100": 4, "gpu:a100": 2}),
        ("gres:gpu:h100:1", {"gpu:h100": 1}),
        ("gres/gpu:2", {"gpu": 2}),
        ("gpu", {"gpu": 1}),
        ("gpu:h100", {"gpu:h100": 1}),
        ("bandwidth:lustre:no_consume:4G", {"bandwidth:lustre": 4 * 1024**3}),
        ("(null)", {}),
        ("N/A", {}),
        ("", {}),
    ],
)
def test_gres_texts_are_read(text: str, expected: dict[str, int]) -> None:
    """The ways of sinfo and squeue to write generic resources."""
    assert parse_gres(text) == expected


@pytest.mark.parametrize(
    ("allocated", "requested", "expected"),
    [
        ("billing=1,cpu=1,gres/gpu:h100=2,gres/gpu=2,mem=500M,node=1", "", GpuCount(2, "h100", "total")),
        ("cpu=1,gres/gpu=4", "", GpuCount(4, None, "total")),
        ("gres/gpu:h100=2,gres/gpu:a100=1", "", GpuCount(3, "a100+h100", "typed")),
        ("gpu:k80:2", "", GpuCount(2, "k80", "gres")),
        ("gpu:2", "", GpuCount(2, None, "gres")),
        ("", "cpu=1,gres/gpu=2", GpuCount(2, None, "requested")),
        ("cpu=1,gres/gpu=1", "gres/gpu=8", GpuCount(1, None, "total")),
        ("cpu=4,gres/gpumem=2,gres/gpuutil=3", "", GpuCount(0, None, "none")),
        ("gres/gpu:1g.10gb=3,gres/gpu=3", "", GpuCount(0, None, "total", mig=3)),
        ("gres/gpu:a100=1,gres/gpu:a100_2g.10gb=2", "", GpuCount(1, "a100", "typed", mig=2)),
        ("gres/shard=8", "gres/gpu=1", GpuCount(0, None, "none", shards=8)),
        ("gres/gpu:h100=1,gres/shard:h100=8", "", GpuCount(1, "h100", "typed", shards=8)),
        ("cpu=1", "cpu=1", GpuCount(0, None, "none")),
        ("", "", GpuCount(0, None, "none")),
    ],
)
def test_gpus_are_counted_once(allocated: str, requested: str, expected: GpuCount) -> None:
    """Total and typed entries are never added; MIG instances and shards are counted apart."""
    assert gpus_of_tres(allocated, requested) == expected
