"""`python -m sirl.integrations.ray_train`: a Ray cluster runs what `torchrun` runs.

Ray Train places the workers and numbers them. Each runs `python -m sirl` in a separate process,
since Ray calls its training function in a thread, which receives no signals.
"""

import os
import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from subprocess import PIPE, CalledProcessError, Popen
from tempfile import TemporaryDirectory, TemporaryFile
from threading import Thread
from typing import Any

import typer

__all__ = ["launch", "worker"]


def worker(job: dict[str, Any]) -> str:
    """Run sirl as one process of a job; what it wrote to its standard output."""
    import ray.train.collective

    with socket.create_server(("", 0)) as free:
        mine = ray.util.get_node_ip_address(), free.getsockname()[1]
        host, port = ray.train.collective.broadcast_from_rank_zero(mine)
    rank, size = ray.train.get_context().get_world_rank(), f"{job['size']}"
    environment = {**os.environ, "RANK": f"{rank}", "WORLD_SIZE": size, "LOCAL_RANK": "0"}
    environment |= {"MASTER_ADDR": host, "MASTER_PORT": f"{port}"}
    if not job["gpu"]:  # whom Ray gives a GPU sees that one alone, and whom it gives none, all
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command, here, last = [sys.executable, "-m", "sirl", *job["command"]], job["folder"], ""
    with (
        TemporaryFile("w+") as out,
        Popen(command, cwd=here, env=environment, stdout=out, stderr=PIPE, text=True) as process,
    ):
        for line in process.stderr or ():
            job["said"].put(last)
            last = line
        if status := process.wait():  # its last line has not been heard
            lost = f"sirl: the process of rank {rank} was ended by signal {-status}"
            raise CalledProcessError(status, "sirl", stderr=last.strip() if status > 0 else lost)
        job["said"].put(last)
        out.seek(0)
        return out.read()


def launch(
    command: list[str] = typer.Argument(..., metavar="-- train ..."),
    workers: int = typer.Option(..., min=1, help="how many processes train"),
    gpu: bool = typer.Option(False, "--gpu", help="give each of them a GPU"),
) -> None:
    """Run a command of sirl on the workers of a Ray cluster, or of a Ray of this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray.util.queue
        from ray import train
        from ray.train import backend, torch
    except ImportError as error:
        typer.echo("sirl: ray_train needs Ray Train: pip install 'ray[train]>=2.60'", err=True)
        raise typer.Exit(2) from error

    class Groupless(torch.TorchConfig):  # type: ignore[misc] # sirl makes the group
        backend_cls, train_func_context = backend.Backend, nullcontext

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(num_cpus=max(workers, os.cpu_count() or 1), **quiet)
    except ValueError:  # there is a cluster, which knows what it has
        ray.init(**quiet)
    said = ray.util.queue.Queue(actor_options={"num_cpus": 0})
    hearing = Thread(target=sys.stderr.writelines, args=[iter(said.get, None)], daemon=True)
    hearing.start()
    if (room := ray.cluster_resources().get("GPU" if gpu else "CPU", 0)) < workers:
        said.put(f"sirl: {workers} workers wait, since Ray has room for {room:g}\n")
    job = {"command": command, "folder": str(Path.cwd()), "size": workers, "gpu": gpu, "said": said}
    scale = train.ScalingConfig(num_workers=workers, use_gpu=gpu)
    settings = {"train_loop_config": job, "torch_config": Groupless(), "scaling_config": scale}
    mute = train.LoggingConfig("CRITICAL")  # a traceback would bury sirl's sentence
    try:
        with TemporaryDirectory() as unused:  # sirl keeps its own checkpoints
            run = train.RunConfig(storage_path=unused, logging_config=mute)
            done = torch.TorchTrainer(worker, run_config=run, **settings).fit()
        typer.echo(done.return_value, nl=False)
    except train.WorkerGroupError as error:
        ends = [getattr(f, "_base_exc", f) for _, f in sorted(error.worker_failures.items())]
        end = min(ends, key=lambda e: getattr(e, "returncode", 0) == 1)  # 1: it has lost another
        said.put(getattr(end, "stderr", f"sirl: {str(end).splitlines()[0]}") + "\n")
        raise typer.Exit(max(1, getattr(end, "returncode", 1))) from error
    finally:
        said.put(None)
        hearing.join()
        ray.shutdown()


if __name__ == "__main__":
    typer.run(launch)
