"""An emulated CUDA device: values live on the CPU, rules and waits are those of CUDA.

It says nothing of kernels, speed, Triton or NCCL. It needs a torch built for CUDA and the library
of shim.cpp before others; `tests/gpu/test_emulated.py` builds both.
"""

# ruff: noqa
import collections, contextlib, ctypes, os, sys, traceback, warnings
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

warnings.filterwarnings("ignore")
torch._C._ensureCUDADeviceGuardSet()
_show = torch.__config__.show()
torch.__config__.show = lambda: _show
ctypes.CDLL(os.environ["EMU_SHIM"]).emu_set_count(64)
aten = torch.ops.aten
CUDA = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
torch.backends.cudnn.enabled = False  # batch_norm would take an operator that has no CPU kernel
LOG = []  # (kind, op, site)
COUNT = collections.Counter()
NOTES = collections.Counter()
CUDA_GENERATORS = set()
SDPA = []
torch._C._set_only_lift_cpu_tensors(True)


def site(depth=3):
    out = []
    f = sys._getframe(1)
    while f is not None:
        name = f.f_code.co_filename
        if ("/ibc_pyg/" in name) and "/site-packages/" not in name:
            out.append(f"{name.split('/ibc_pyg/')[-1]}:{f.f_lineno}")
            if len(out) >= depth:
                break
        elif (
            "site-packages" in name
            and any(
                k in name
                for k in (
                    "lightning_fabric",
                    "pytorch_metric_learning",
                    "torch/optim",
                    "torch/nn/utils",
                    "torch_geometric/",
                    "grad_scaler",
                )
            )
            and len(out) < 1
        ):
            out.append(f"[{name.split('site-packages/')[-1]}:{f.f_lineno}]")
        f = f.f_back
    return " < ".join(out)


def log(kind, func):
    LOG.append((kind, str(func), site()))


class Emu(torch.Tensor):
    @staticmethod
    def __new__(cls, elem):
        assert type(elem) in (torch.Tensor, torch.nn.Parameter), type(elem)
        r = torch.Tensor._make_wrapper_subclass(
            cls,
            elem.size(),
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            layout=elem.layout,
            device=CUDA,
        )
        r.elem = elem.detach() if elem.requires_grad else elem
        return r

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})

    def __repr__(self):
        return f"Emu({self.elem})"

    def numpy(self, *a, **k):
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first @ " + site()
        )

    def tolist(self):
        LOG.append(("D2H-SYNC", "tolist", site()))
        return self.elem.detach().tolist()

    def __array__(self, *a, **k):
        raise TypeError("can't convert cuda:0 device type tensor to numpy (array) @ " + site())

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        new = Emu(self.elem.clone())
        if isinstance(self, torch.nn.Parameter) or getattr(self, "_is_param", False):
            new = torch.nn.Parameter(new, self.requires_grad)
        memo[id(self)] = new
        return new

    def pin_memory(self, *a, **k):
        raise RuntimeError(
            "cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"
        )


SYNC = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten._local_scalar_dense.default,
    aten.multinomial.default,
}
SCALAR_OK_PREFIX = None
VIEWS = set()


def is_cuda_dev(d):
    return d is not None and torch.device(d).type == "cuda"


class Mismatch(RuntimeError):
    pass


def run(func, args, kwargs):
    flat, _ = tree_flatten((args, kwargs))
    emu = [t for t in flat if isinstance(t, Emu)]
    cpu = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, Emu)]
    gens = [g for g in flat if isinstance(g, torch.Generator)]
    dev = kwargs.get("device")
    if not emu and not is_cuda_dev(dev):
        return func(*args, **kwargs)
    name = func.__name__
    pkt = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else name
    ns = func.namespace if hasattr(func, "namespace") else ""
    on_cuda = True
    wrap_out = True
    if func is aten._to_copy.default:
        src = args[0]
        to_cuda = isinstance(src, Emu) if dev is None else is_cuda_dev(dev)
        wrap_out = to_cuda
        if isinstance(src, Emu) != to_cuda:
            nb = bool(kwargs.get("non_blocking"))
            if to_cuda:
                pinned = getattr(src, "_pinned", False)
                log("H2D-async" if (nb and pinned) else "H2D-SYNC", func)
            else:
                log("D2H-async" if nb else "D2H-SYNC", func)
    elif func is aten.copy_.default:
        d, s = args[0], args[1]
        if isinstance(d, Emu) != isinstance(s, Emu):
            log("H2D-SYNC" if isinstance(d, Emu) else "D2H-SYNC", func)
        wrap_out = isinstance(d, Emu)
    elif func in (
        aten.index.Tensor,
        aten.index_put.default,
        aten.index_put_.default,
        aten._index_put_impl_.default,
        aten._unsafe_index.Tensor,
    ):
        self_, idx = args[0], [t for t in args[1] if t is not None]
        for t in idx:
            if isinstance(t, Emu) and not isinstance(self_, Emu):
                raise Mismatch(
                    f"{func}: indices should be either on cpu or on the same device as the indexed tensor (cpu) @ {site()}"
                )
            if isinstance(self_, Emu) and not isinstance(t, Emu):
                log("H2D-SYNC (index)", func)
            if t.dtype in (torch.bool, torch.uint8):
                log("SYNC (bool index)", func)
        vals = [t for t in cpu if not any(t is i for i in idx)]
        if any(v.dim() > 0 for v in vals) and emu:
            raise Mismatch(f"{func}: cpu values for cuda tensor @ {site()}")
    elif pkt in ("_pin_memory", "pin_memory", "is_pinned"):
        if pkt == "is_pinned":
            return False
        raise RuntimeError("cannot pin cuda tensor")
    else:
        bad = [t for t in cpu if t.dim() > 0]
        if emu and bad and not (pkt.startswith("_foreach") and False):
            raise Mismatch(
                f"{func}: Expected all tensors to be on the same device, cuda:0 and cpu {[tuple(b.shape) for b in bad]} @ {site()}"
            )
        if emu and cpu:
            NOTES[("cpu 0-dim", str(func), site())] += 1
            if pkt in (
                "cat",
                "stack",
                "mm",
                "bmm",
                "addmm",
                "gather",
                "scatter",
                "index_select",
                "scatter_add",
                "index_add",
                "dot",
                "mv",
                "_foreach_norm",
            ):
                raise Mismatch(f"{func}: 0-dim cpu not allowed @ {site()}")
        if func in SYNC:
            log("SYNC", func)
        if func is aten._local_scalar_dense.default:
            wrap_out = False
    if gens:
        for g in gens:
            if g._cdata not in CUDA_GENERATORS:
                raise RuntimeError(
                    f"{func}: Expected a 'cuda' device type for generator but found 'cpu' @ {site()}"
                )
    COUNT[f"{ns}.{pkt}"] += 1
    back = {}

    def un(t):
        if isinstance(t, Emu):
            back[id(t.elem)] = t
            return t.elem
        return t

    a = tree_map(un, args)
    k = tree_map(un, kwargs)
    if "device" in k and k["device"] is not None:
        k["device"] = torch.device("cpu")
    if k.get("pin_memory"):
        k["pin_memory"] = False
    if pkt == "_fused_sdp_choice":
        SDPA.append(
            (
                tuple(args[0].shape),
                tuple(args[1].shape),
                args[0].dtype,
                None if len(args) < 4 or args[3] is None else (tuple(args[3].shape), args[3].dtype),
                (args[4] if len(args) > 4 else 0.0),
                args[0].requires_grad,
                site(),
            )
        )
        return 0
    out = func(*a, **k)
    if not wrap_out:
        return out

    def wr(t):
        if not isinstance(t, torch.Tensor) or isinstance(t, Emu):
            return t
        if id(t) in back:
            w = back[id(t)]
            if w.shape != t.shape or w.stride() != t.stride():
                raise NotImplementedError(f"{func} changed metadata in place @ {site()}")
            return w
        return Emu(t)

    return tree_map(wr, out)


class EmuMode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


# ---- torch.cuda without a driver
import torch.cuda

P = torch.cuda
P._lazy_init = lambda: None
P.is_available = lambda: True
P.is_initialized = lambda: True
P.device_count = lambda: int(os.environ.get("EMU_GPUS", 1))
P.current_device = lambda: 0
P.set_device = lambda d: None
P.synchronize = lambda *a: LOG.append(("SYNC", "torch.cuda.synchronize", site()))
P.get_device_name = lambda *a: "Emulated GPU"
P.get_device_capability = lambda *a: (9, 0)
P.is_bf16_supported = lambda *a, **k: True
P.memory_allocated = lambda *a: 0
P.max_memory_allocated = lambda *a: 0
P.empty_cache = lambda: None
P.current_stream = lambda *a: None
_STATE = {}
P.get_rng_state = lambda *a: torch.zeros(16, dtype=torch.uint8)
P.set_rng_state = lambda s, *a: (
    None
    if (s.device.type == "cpu" and s.dtype == torch.uint8 and s.numel() == 16)
    else (_ for _ in ()).throw(TypeError("RNG state must be a torch.ByteTensor"))
)
P.manual_seed = lambda *a: None
P.manual_seed_all = lambda *a: None
P.random.get_rng_state = P.get_rng_state
P.random.set_rng_state = P.set_rng_state
_RealGen = torch.Generator


class _Gen:
    def __new__(cls, device="cpu"):
        g = _RealGen()
        if torch.device(device).type == "cuda":
            CUDA_GENERATORS.add(g._cdata)
            _KEEP.append(g)
        return g


_KEEP = []


class _GenMeta(type(_RealGen)):
    pass


torch_Generator = _RealGen


def patch_generators(*modules):
    class T:
        def __getattr__(self, n):
            return _Gen if n == "Generator" else getattr(torch, n)

    for m in modules:
        m.torch = T()


torch.Tensor_pin = torch.Tensor.pin_memory


def _pin(self, *a, **k):
    t = self.clone()
    t._pinned = True
    return t


torch.Tensor.pin_memory = _pin


# ---- modules
def to_emu_param(p):
    return torch.nn.Parameter(Emu(p.detach()), p.requires_grad)


_to = torch.nn.Module.to


def module_to(self, *args, **kwargs):
    device, dtype, nb, mf = torch._C._nn._parse_to(*args, **kwargs)
    if device is not None and device.type == "cuda":
        if dtype is not None or mf is not None:
            _to(self, dtype=dtype, memory_format=mf) if mf is None else _to(self, memory_format=mf)
        self._apply(lambda t: t)  # teachers hook in here
        move(self)
        return self
    if device is not None and device.type == "cpu":
        raise NotImplementedError("module to cpu")
    return _to(self, *args, **kwargs)


def move(mod):
    seen = {}
    for m in mod.modules():
        for n, p in list(m._parameters.items()):
            if p is None or isinstance(p, Emu):
                continue
            if id(p) not in seen:
                new = to_emu_param(p)
                torch.utils.swap_tensors(p, new)
                seen[id(p)] = p
        for n, b in list(m._buffers.items()):
            if b is None or isinstance(b, Emu):
                continue
            m._buffers[n] = Emu(b)
        for t in getattr(m, "_teacher", []):
            move(t)


torch.nn.Module.to = module_to
import torch.utils._foreach_utils as fu, torch.optim.optimizer as oo

for lst in (
    getattr(fu, "_foreach_supported_types", None),
    getattr(oo, "_foreach_supported_types", None),
):
    if lst is not None and Emu not in lst:
        lst.append(Emu)


def report(title, top=60):
    print("##", title)
    c = collections.Counter(LOG)
    for (kind, op, s), n in sorted(c.items(), key=lambda x: -x[1])[:top]:
        print(f"  {n:4d} x {kind:18s} {op:38s} {s}")


def reset():
    LOG.clear()
    COUNT.clear()
    NOTES.clear()
    SDPA.clear()


KERNEL_FREE = {
    "view",
    "_unsafe_view",
    "t",
    "transpose",
    "permute",
    "expand",
    "detach",
    "alias",
    "select",
    "slice",
    "unsqueeze",
    "squeeze",
    "as_strided",
    "split",
    "chunk",
    "unbind",
    "reshape",
    "split_with_sizes",
    "empty",
    "empty_strided",
    "new_empty",
    "empty_like",
    "new_empty_strided",
    "diagonal",
    "_reshape_alias",
    "lift_fresh",
    "_fused_sdp_choice",
    "_local_scalar_dense",
    "unfold",
}


def kernels():
    return sum(n for k, n in COUNT.items() if k.split(".")[-1] not in KERNEL_FREE)


import torch.nn.functional as _F

_sdpa = _F.scaled_dot_product_attention


def emu_sdpa(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    if not isinstance(query, Emu):
        return _sdpa(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)
    if torch.is_autocast_enabled("cuda"):
        dt = torch.get_autocast_dtype("cuda")
        query, key, value = (t.to(dt) for t in (query, key, value))
    assert query.dtype == key.dtype == value.dtype, (query.dtype, key.dtype, value.dtype)
    SDPA.append(
        (
            tuple(query.shape),
            tuple(key.shape),
            query.dtype,
            None if attn_mask is None else (tuple(attn_mask.shape), attn_mask.dtype),
            dropout_p,
            query.requires_grad,
            tuple(query.stride()),
            tuple(key.stride()),
        )
    )
    out, _ = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, None
    )
    return out


_F.scaled_dot_product_attention = emu_sdpa
