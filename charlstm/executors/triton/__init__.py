"""Every cell on NVIDIA GPUs: between two recurrent products one Triton kernel, printed from the cell's equations.

The loop along time makes the recurrent products with ``torch.mm``. All pointwise work between two of them is one
kernel: an LSTM has one product and one kernel for each step, forward as backward. On the way back the last stage of a
step, which begins with the product that gives dh, is done by the same kernel as the first stage of the step before.

The loops work on buffers of their own, a :mod:`plan <charlstm.executors.triton.plans>` for each shape, and are recorded
(:mod:`charlstm.executors.cuda_graph`) once a shape comes again. States and all pointwise work are in the type of the
weights; what products read, the output, and what is kept for the way back is in the type of the products. Products come
out in their own type too, so under bfloat16 each recurrent product is rounded once, as the ``eager`` executor does.

With ``TRITON_INTERPRET=1`` in the environment, before Triton is loaded, the same kernels are interpreted on the CPU.

Measured on an H100 (torch 2.11, Triton 3.6), one lstm layer in bfloat16: a recorded step takes 5.3 to 7.6 microseconds
forward and 5.3 to 11.0 back for 256 to 1024 units; ``vendor`` in bfloat16 is never faster, and much slower where the
layer is small. Training is 2.0 to 2.8 times as fast as torch.nn.LSTM in float32 with TF32.

Decided without measurement: the sizes of blocks and the number of warps (``kernels.geometry``), how many shapes and
plans of a shape are kept and for how long (``pool.SHAPES``, ``pool.PLANS``, ``pool.PATIENCE``), and that a product of
bfloat16 comes out in bfloat16; around this executor, the order in which executors are taken on CUDA in float32
(:mod:`charlstm.executors.choose`), that ``vendor`` runs whole stacks in one call (``Library.stack_devices``), and how
many logits are held at a time and how they are aligned (``LOGITS_ON_GPU``, ``ALIGNED`` of the model's head).
"""

from charlstm.executors.triton.executor import Triton, clear_plan_cache

__all__ = ["Triton", "clear_plan_cache"]
