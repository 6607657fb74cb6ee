"""What engines really wrote when they could not start, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedbench.launch.engine_log import account, last_lines

# Ends of real logs of vLLM 0.32, shortened.  The warning about a limit is in every one of them.
VLLM_WARNING = """\
(APIServer pid=5432) WARNING 11-24 10:41:32 [system_utils.py:255] Found ulimit of 20000 and failed \
to automatically increase with error. This can cause errors like `OSError: [Errno 24] Too many`
(APIServer pid=5432) INFO 11-24 10:41:33 [core.py:9] Lower it if the device is out of memory
"""
VLLM_MODEL = """\
Traceback (most recent call last):
  File "huggingface_hub/utils/_validators.py", line 133, in validate_repo_id
    raise HFValidationError(
huggingface_hub.errors.HFValidationError: Repo id must be in the form 'namespace/repo_name': '/m'.
"""
VLLM_ARCHITECTURE = """\
  File "pydantic/_internal/_dataclasses.py", line 121, in __init__
    s.__pydantic_validator__.validate_python(ArgsKwargs(args, kwargs), self_instance=s)
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, Model architectures ['NoSuchForCausalLM'] are not supported for now.
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""
VLLM_CORE = """\
(EngineCore pid=6174) ERROR 11-24 10:44:11 [core.py:1510] EngineCore failed to start.
(EngineCore pid=6174) ERROR 11-24 10:44:11 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=6174) ERROR 11-24 10:44:11 [core.py:1510]     raise e from None
(EngineCore pid=6174) ERROR 11-24 10:44:11 [core.py:1510] Exception: WorkerProc initialization \
failed due to an exception in a background process.
Process EngineCore:
Traceback (most recent call last):
RuntimeError: Engine core initialization failed. See root cause above.
"""
# Of llama.cpp, version 0.5.0-dev.
LLAMA_MODEL = """\
0.00.014.573 W srv  llama_server: security: no API key is set: an error in production
0.00.027.849 I srv    load_model: loading model '/no/such.gguf'
0.00.028.192 E gguf_init_from_file: failed to open GGUF file '/no/such.gguf' (No such file)
0.00.028.359 E llama_model_load: error loading model: failed to load model from /no/such.gguf
0.00.028.415 I srv    operator(): operator(): cleaning up before exit...
0.00.136.454 E srv  llama_server: exiting due to model loading error
"""
LLAMA_PORT = """\
0.00.077.721 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8134
0.00.088.996 E srv  llama_server: exiting due to HTTP server error
"""
# Forms that the others have.
SGLANG = """\
[2026-11-24 10:44:11 TP0] Scheduler hit an exception: Traceback (most recent call last):
[2026-11-24 10:44:11 TP0] ValueError: Unrecognized model in /m.
[2026-11-24 10:44:12] Received sigquit from a child process. It usually means the child failed.
"""
TENSORRT_LLM = """\
[11/24/2026-10:44:11] [TRT-LLM] [I] Loading
[11/24/2026-10:44:11] [TRT-LLM] [E] RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB
"""


@pytest.mark.parametrize(
    ("said", "telling"),
    [
        (VLLM_MODEL, "it says: huggingface_hub.errors.HFValidationError: Repo id must be in"),
        (VLLM_ARCHITECTURE, "1 validation error for ModelConfig Value error, Model architectures"),
        (VLLM_CORE, "it says: Exception: WorkerProc initialization failed due to"),
        (LLAMA_MODEL, "it says: gguf_init_from_file: failed to open GGUF file '/no/such.gguf'"),
        (LLAMA_PORT, "its port was taken: srv         start: couldn't bind HTTP server socket"),
        ("error: invalid argument: --nonsense\n", "it says: error: invalid argument: --nonsense;"),
        (SGLANG, "it says: ValueError: Unrecognized model in /m.;"),
        (TENSORRT_LLM, "it ran out of memory: RuntimeError: CUDA out of memory. Tried"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n", "ran out of memory"),
        ("RuntimeError: cannot reach peer\n", "it says: RuntimeError: cannot reach peer;"),
        ("ready\n", "its last lines: "),
    ],
)
def test_the_telling_line_comes_first(said: str, telling: str, tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(VLLM_WARNING + said)
    told = account(log)
    assert telling in told
    last = said.splitlines()[-1].strip()
    assert told.endswith(last), "the engine's last words are always there"
    assert "\n" not in told


def test_only_this_launch_is_read(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(VLLM_MODEL + "loading\n")
    assert account(log, len(VLLM_MODEL)) == "its last lines: loading"


def test_a_log_that_is_empty_or_missing(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    assert last_lines(log) == "(it said nothing)"
    log.write_text("\n \n")
    assert account(log) == "its last lines: (it said nothing)"


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"\xff" * 300 + b"x" * 2_000_000 + b"\nValueError: bad\n" + b"line\n" * 20)
    told = account(log)
    assert told.startswith("it says: ValueError: bad; its last lines: line / line")
    assert len(told) < 200
