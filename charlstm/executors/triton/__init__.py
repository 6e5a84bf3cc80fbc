"""Runs every cell on NVIDIA GPUs with Triton kernels that are generated from its equations.

The time loop runs the recurrent matmuls with ``torch.mm``. All pointwise operations between two of them are one kernel:
an LSTM has one matmul and one kernel per step, forward and backward. In the backward pass the last stage of a step,
which starts with the matmul that computes dh, is fused with the first stage of the previous step.

The loops work on static buffers, a :mod:`plan <charlstm.executors.triton.plans>` for each shape, and are captured in a
CUDA graph (:mod:`charlstm.executors.cuda_graph`) when a shape is used again. States and pointwise operations are in the
weights' dtype; matmul operands, the output, and values saved for the backward pass are in the compute dtype. Matmul
results are too, so under bfloat16 each recurrent matmul is rounded once, as in the ``eager`` executor.

Where it is faster, as measured for each pass when a size is first trained (:mod:`charlstm.executors.triton.choice`), a
loop is a single kernel (:mod:`charlstm.compiler.persistent_printer`), in which results of matmuls are not rounded.

With ``TRITON_INTERPRET=1`` in the environment, before Triton is loaded, the same kernels are interpreted on the CPU.

Measured on an H100 (torch 2.11, Triton 3.6), one lstm layer in bfloat16: a replayed step takes 5.3 to 7.6 microseconds
forward and 5.3 to 11.0 backward with hidden sizes of 256 to 1024; ``vendor`` in bfloat16 is never faster, and much
slower for small layers. Training is 2.0 to 2.8 times as fast as torch.nn.LSTM in float32 with TF32.

Chosen without measurement: how a single kernel is divided into programs (``persistent.tiles``), the block sizes and the
number of warps (``kernels.launch_geometry``), how many shapes and plans per shape are cached and for how long
(``pool.MAX_SHAPES``, ``pool.PLANS``, ``pool.PATIENCE``), and that bfloat16 matmuls return bfloat16; outside this
executor, the preference order on CUDA in float32 (:mod:`charlstm.executors.choose`), that ``vendor`` runs whole stacks
in one call (``Vendor.stack_devices``), and how many logits are computed at a time and how they are aligned
(``LOGITS_ON_GPU``, ``ALIGNED`` of the model's head).
"""

from charlstm.executors.triton.choice import loop_facts, refuse_kernels_that_gave_up, restore_loops
from charlstm.executors.triton.executor import Triton, clear_plan_cache

__all__ = ["Triton", "clear_plan_cache", "loop_facts", "refuse_kernels_that_gave_up", "restore_loops"]
