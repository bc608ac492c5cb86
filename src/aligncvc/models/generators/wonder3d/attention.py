"""Attention between the views and the domains of an object, for a stock diffusers U-Net.

Facts of the design (github xxlong0/Wonder3D, branches main and Wonder3D_Plus, transformer_mv2d.py): a batch
has all rows of the first domain (normals), then all of the second (colours), the V views of an object in a
row. Multi-view attention has the weights of plain self-attention; cross-domain attention has its own, named
`norm_joint_mid` and `attn_joint_mid`, before cross-attention, and starts as the identity.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn


class JoinedAttention:
    """Self-attention processor: groups of rows see each other, `count` rows that lie `distance` apart.

    Multi-view: the V consecutive rows of an object. Cross-domain: the domains of a view, half of all rows
    apart (None, no number: gradient checkpointing calls a block again after batches of other lengths), or the
    halves of an object's views (V/2); with 0 each row sees itself alone.
    """

    def __init__(self, count: int, distance: int | None) -> None:
        self.count, self.distance = count, distance
        self.attend = AttnProcessor2_0()

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        if self.distance == 0:
            return self.attend(attn, hidden_states)
        rows, tokens, channels = hidden_states.shape
        distance = rows // self.count if self.distance is None else self.distance
        groups = hidden_states.reshape(-1, self.count, distance, tokens, channels).transpose(1, 2)
        seen = self.attend(attn, groups.reshape(-1, self.count * tokens, channels))
        apart = seen.reshape(-1, distance, self.count, tokens, channels).transpose(1, 2)
        return apart.reshape(hidden_states.shape)


class CrossDomainBlock(BasicTransformerBlock):
    """diffusers' transformer block with cross-domain attention after its self-attention."""

    def __init__(self, dim: int, heads: int, head_dim: int, cross_attention_dim: int | None) -> None:
        super().__init__(dim, heads, head_dim, cross_attention_dim=cross_attention_dim)
        self.norm_joint_mid = nn.LayerNorm(dim)
        self.attn_joint_mid = Attention(query_dim=dim, heads=heads, dim_head=head_dim)
        for parameter in self.attn_joint_mid.to_out[0].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        timestep: Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        class_labels: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """(rows, T, C) -> (rows, T, C); arguments in the base class's order, which checkpointing needs."""
        x = hidden_states
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn_joint_mid(self.norm_joint_mid(x))
        x = x + self.attn2(self.norm2(x), encoder_hidden_states=encoder_hidden_states)
        return x + self.ff(self.norm3(x))


def join_views(unet: Any, cross_domain: bool) -> None:
    """Give each attention the processor of its kind; cross_domain: and make its block a CrossDomainBlock."""
    for module in unet.modules() if cross_domain else ():
        if isinstance(module, Transformer2DModel):
            module.transformer_blocks = nn.ModuleList(
                CrossDomainBlock(b.dim, b.num_attention_heads, b.attention_head_dim, b.cross_attention_dim)
                for b in module.transformer_blocks
            )
    kinds = {"attn1": (1, 1), "attn_joint_mid": (2, 0)}
    names = {name: name.split(".")[-2] for name in unet.attn_processors}
    unet.set_attn_processor(
        {n: JoinedAttention(*kinds[k]) if k in kinds else AttnProcessor2_0() for n, k in names.items()}
    )


def arrange(unet: Any, views: int, distance: int | None) -> None:
    """How the next batch's rows belong together; fixed from a checkpointed forward pass to its backward."""
    for name, processor in unet.attn_processors.items():
        if ".attn1." in name:
            processor.count = views
        elif ".attn_joint_mid." in name:
            processor.distance = distance


def by_domain(x: Tensor, domains: int) -> Tensor:
    """(B, V, D C, ...) with a view's domains in its channels -> rows (D B V, C, ...), normals first."""
    return x.unflatten(2, (domains, -1)).movedim(2, 0).flatten(0, 2)


def by_object(rows: Tensor, domains: int, batch: int) -> Tensor:
    """The way back of `by_domain`: rows (D B V, C, ...) -> (B, V, D C, ...)."""
    return torch.movedim(rows.unflatten(0, (domains, batch, -1)), 0, 2).flatten(2, 3)
