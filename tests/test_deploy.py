"""Files of `deploy/`, as far as they can be checked without a cluster: deploy/README.md says what cannot."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from muses_lab.notebooks import TUTORIALS
from tests.helpers import REPOSITORY

pytest.importorskip("dask_gateway_server")

DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((KUBERNETES / name).read_text("utf-8")))


# --------------------------------------------------------------------------------------------------- Kubernetes


def test_one_image_and_one_address_per_service() -> None:
    texts = {path.name: path.read_text("utf-8") for path in KUBERNETES.glob("*.yaml")}
    (hub,), (gateway,), (store, service, policy) = (
        documents(n) for n in ("jupyterhub.yaml", "dask-gateway.yaml", "store.yaml")
    )
    image = f"{hub['singleuser']['image']['name']}:{hub['singleuser']['image']['tag']}"
    backend = gateway["gateway"]["backend"]["image"]
    assert f"{backend['name']}:{backend['tag']}" == image
    (container,) = store["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
    assert re.findall(r'IMAGE = "(.*)"', texts["dask-gateway.yaml"]) == [backend["name"] + ":"]

    environment = hub["singleuser"]["extraEnv"]
    services = hub["hub"]["services"]
    assert environment["MUSES_STORE_URL"] == services["muses"]["url"] + "/services/muses"
    assert environment["DASK_GATEWAY__ADDRESS"] == services["dask-gateway"]["url"] + gateway["gateway"]["prefix"]
    assert services["muses"]["url"].split(":")[-1] == str(service["spec"]["ports"][0]["port"])
    assert service["metadata"]["name"] in services["muses"]["url"]
    labels = store["spec"]["template"]["metadata"]["labels"]
    for selector in (service["spec"]["selector"], policy["spec"]["podSelector"]["matchLabels"]):
        assert selector.items() <= labels.items()
    told = {entry["name"]: entry for entry in container["env"]}
    assert {"JUPYTERHUB_API_TOKEN", "JUPYTERHUB_SERVICE_URL", "MUSES_HUB_DATABASE"} <= set(told)
    assert told["JUPYTERHUB_API_TOKEN"]["valueFrom"]["secretKeyRef"]["key"] == "hub.services.muses.apiToken"


def test_users_get_the_images_tutorials_and_the_hub_has_all_its_pages() -> None:
    (values,) = documents("jupyterhub.yaml")
    singleuser, hub = values["singleuser"], values["hub"]
    tutorials = " ".join(f"notebooks/{name}" for name in TUTORIALS)
    assert f"COPY {tutorials} /opt/muses-lab/notebooks/" in (DEPLOY / "Dockerfile").read_text("utf-8")
    assert singleuser["extraEnv"]["MUSES_HUB_PUBLISHED"] == "/opt/muses-lab/notebooks"
    assert singleuser["cmd"][1:] == ["-m", "muses_lab.deployment.singleuser"]
    templates = REPOSITORY / "muses_lab" / "deployment" / "templates"
    mounted = {Path(entry["mountPath"]) for entry in hub["extraFiles"].values()}
    assert {path.name for path in mounted} == {path.name for path in templates.iterdir()}
    assert {str(path.parent) for path in mounted} == set(hub["templatePaths"])
    used = set(re.findall(r"\bmuses_\w+", "".join(path.read_text("utf-8") for path in templates.iterdir())))
    assert used == set(hub["templateVars"])


def test_both_roles_may_use_both_services() -> None:
    (hub,) = documents("jupyterhub.yaml")
    for role in ("user", "server"):
        scopes = hub["hub"]["loadRoles"][role]["scopes"]
        assert {f"access:services!service={name}" for name in hub["hub"]["services"]} <= set(scopes)


def test_no_secret_and_no_loose_end_is_in_the_files() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            text = path.read_text("utf-8")
            assert not re.search(
                r"(password|secret|token)\s*[:=]\s*['\"]?[A-Za-z0-9+/]{12,}['\"]?\s*$", text, re.I | re.M
            )
            assert not re.search(r"TODO|FIXME|:latest\b|/root/", text), path


def test_containers_have_no_more_rights_than_they_need() -> None:
    store = documents("store.yaml")[0]["spec"]["template"]["spec"]
    (gateway,) = documents("dask-gateway.yaml")
    worker, scheduler = (gateway["gateway"]["backend"][name] for name in ("worker", "scheduler"))
    for pod, container in (
        (store, store["containers"][0]),
        *((part["extraPodConfig"], part["extraContainerConfig"]) for part in (worker, scheduler)),
    ):
        assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for part in (worker, scheduler):
        assert part["memory"]["limit"] and part["cores"]["limit"]


def test_the_gateways_limits_hold() -> None:
    from dask_gateway_server.backends.base import ClusterConfig

    (values,) = documents("dask-gateway.yaml")
    config = Config()
    for code in values["gateway"]["extraConfig"].values():
        exec(compile(code, "extraConfig", "exec"), {"c": config})
    assert set(config.ClusterConfig) <= set(ClusterConfig.class_trait_names())
    options = config.Backend.cluster_options
    user = object()
    image = options.parse_options({})["image"]
    chosen = options.get_configuration(options.parse_options({"workers": 3, "memory": 4}), user)
    of_kubernetes = {
        "image",
        "worker_threads",
    }  # its module needs Kubernetes' client, which is in the chart's image only
    assert set(chosen) - of_kubernetes <= set(ClusterConfig.class_trait_names())
    assert (chosen["cluster_max_workers"], chosen["worker_memory"], chosen["image"]) == (3, "4.0G", image)
    made = ClusterConfig(**{name: value for name, value in chosen.items() if name not in of_kubernetes})
    assert made.worker_memory == 4 << 30
    for wrong in ({"workers": 99}, {"memory": 64}, {"cores": 0}):
        with pytest.raises((ValueError, TypeError)):
            options.parse_options(wrong)
    with pytest.raises(ValueError, match="image must be one of"):
        options.get_configuration(options.parse_options({"image": "evil.example/x:1"}), user)


def test_the_image_is_the_locks_and_every_file_it_copies_is_sent() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    instructions = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    known = {"FROM", "ENV", "WORKDIR", "RUN", "COPY", "USER", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions} <= known
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split()
    for word, rest in instructions:
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (REPOSITORY / source).exists() and f"!{source}" in ignore, source
    installs = [rest for word, rest in instructions if word == "RUN" and "pip install" in rest]
    assert "--require-hashes" in installs[0] and all("--no-deps" in rest for rest in installs)
    users = [rest for word, rest in instructions if word == "USER"]
    assert users == ["1000"], "the image must not run as root"
    lock = (REPOSITORY / "requirements.lock").read_text("utf-8")
    for needed in ("jupyterhub==", "dask-gateway==", "psycopg=="):
        assert f"\n{needed}" in lock


# --------------------------------------------------------------------------------------------------------- HPC


@pytest.mark.parametrize("system", ["slurm", "pbs"])
def test_job_queues_are_configured_as_the_installed_gateway_understands(system: str, tmp_path: Path) -> None:
    from dask_gateway_server.app import DaskGateway
    from dask_gateway_server.backends.jobqueue import pbs, slurm

    backend, cluster = {
        "slurm": (slurm.SlurmBackend, slurm.SlurmClusterConfig), "pbs": (pbs.PBSBackend, pbs.PBSClusterConfig),
    }[system]  # fmt: skip
    config = PyFileConfigLoader(f"dask_gateway_{system}.py", path=str(DEPLOY / "hpc")).load_config()
    assert config.DaskGateway.backend_class.endswith("." + backend.__name__)
    for section, cls in ((backend.__name__, backend), (cluster.__name__, cluster), ("DaskGateway", DaskGateway)):
        unknown = set(config[section]) - set(cls.class_trait_names())
        assert not unknown, f"{section} has no {unknown}"
    made = cluster(config=config)  # values of the right types
    assert made.worker_memory == 4 << 30 and made.scheduler_cmd[1:] == ["scheduler"]
    assert made.idle_timeout > 0 and made.cluster_max_workers > 0
    engine = int(made.environment["MUSES_WORKER_BYTES"])
    assert 0.7 * made.worker_memory < engine < made.worker_memory - (500 << 20)


# ------------------------------------------------------------------------------------------------------ systemd


def units() -> list[Path]:
    return sorted([*(DEPLOY / "systemd").glob("*.service"), *(DEPLOY / "systemd").glob("*.timer")])


def test_units_are_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the PATH")
    for unit in units():  # paths as they will be on the server; here they are not
        text = re.sub(
            r"/opt/muses-lab/\S*python|/opt/muses-lab/\.venv/bin/muses-lab", "/bin/true", unit.read_text("utf-8")
        )
        text = re.sub(r"^(Documentation|WorkingDirectory)=.*\n", "", text, flags=re.M)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "muses" in line and "deploy" not in line]
    assert not complaints, complaints


def test_the_units_start_what_is_there() -> None:
    hub = (DEPLOY / "systemd" / "muses-hub.service").read_text("utf-8")
    environment = (DEPLOY / "systemd" / "hub.env").read_text("utf-8")
    for name in re.findall(r"^#? ?(MUSES_HUB_\w+)=", environment, re.M):
        assert name.startswith("MUSES_HUB_")
    assert "MUSES_HUB_STATE=/var/lib/muses-lab" in hub and "StateDirectory=muses-lab\n" in hub
    assert "Environment=MUSES_HUB_PASSWORD" not in hub
