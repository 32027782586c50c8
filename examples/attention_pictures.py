"""Right and wrong decisions made visible: a small model rewrites dates, and its attention shows what it read.

    python examples/attention_pictures.py [FOLDER]

It is trained for some seconds on dates such as "3 may 2021" and "may 3, 2021", to write "2021-05-03". Then it meets
days that it has not seen, and at last a spelling that it has not seen, the year first. It saves attention_right.svg and
attention_wrong.svg and says what to see there.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import s2sfast

MONTHS = [datetime.date(2000, month, 1).strftime("%B").lower() for month in range(1, 13)]
LETTERS = sorted(set("".join(MONTHS)) | set("0123456789 ,"))
DIGITS = ["<s>", "</s>", *"0123456789-"]
START, END = 0, 1
SPELLINGS = ("{day} {month} {year}", "{month} {day}, {year}")
UNSEEN = "{year}, {day} {month}"


class Reader(nn.Module):
    """A GRU reads the letters, another writes; additive attention and Luong's output layer join them."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS) + 1, hidden)  # the last one pads
        self.encoder = nn.GRU(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.digits = nn.Embedding(len(DIGITS), hidden)
        self.decoder = nn.GRU(hidden, hidden, batch_first=True)
        self.attention = s2sfast.nn.AdditiveAttention(hidden, hidden, hidden)
        self.join = s2sfast.nn.AttentionalState(hidden, hidden, hidden)
        self.output = nn.Linear(hidden, len(DIGITS))

    def read(self, dates: list[str]) -> s2sfast.nn.AttentionMemory:
        """Everything about the sources that does not depend on what is written."""
        rows = [torch.tensor([LETTERS.index(letter) for letter in date]) for date in dates]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=len(LETTERS))
        lengths = torch.tensor([len(date) for date in dates])
        packed = nn.utils.rnn.pack_padded_sequence(
            self.letters(padded), lengths, batch_first=True, enforce_sorted=False
        )
        encoded, _ = nn.utils.rnn.pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return self.attention.precompute(encoded, lengths=lengths)

    def write(self, tokens: Tensor, memory: s2sfast.nn.AttentionMemory) -> Tensor:
        """(B, L) tokens before, sources -> (B, L, V) logits: in training all L states attend in one call."""
        states, _ = self.decoder(self.digits(tokens))
        return self.output(self.join(states, self.attention(states, memory).context))

    def step(self, tokens: Tensor, state: Tensor, memory: s2sfast.nn.AttentionMemory) -> tuple[Tensor, Tensor, Tensor]:
        """One step of a search: (R,), (R, H) -> (R, V), (R, H), attention (R, T)."""
        states, _ = self.decoder(self.digits(tokens)[:, None], state[None].contiguous())
        queries = states.view(len(memory.keys), -1, states.shape[-1])  # the beams of a sentence are its queries
        context, weights = self.attention(queries, memory)
        logits = self.output(self.join(queries, context))
        return logits.flatten(0, 1), states[:, 0], weights.flatten(0, 1)


def spell(spelling: str, day: datetime.date) -> str:
    return spelling.format(day=day.day, month=MONTHS[day.month - 1], year=day.year)


def train(model: Reader, days: list[datetime.date], steps: int, batch: int = 64) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        chosen = [days[i] for i in torch.randint(len(days), (batch,)).tolist()]
        memory = model.read([spell(SPELLINGS[i % 2], day) for i, day in enumerate(chosen)])
        rows = torch.tensor([[START, *(DIGITS.index(c) for c in day.isoformat()), END] for day in chosen])
        loss = nn.functional.cross_entropy(model.write(rows[:, :-1], memory).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}")


def decode(model: Reader, dates: list[str]) -> tuple[list[str], Any]:
    with torch.no_grad():
        memory, state = model.read(dates), torch.zeros(len(dates), model.decoder.hidden_size)
    found = s2sfast.beam_search(
        model.step, state, memory=memory, start=START, eos=END, beam=3, max_length=12, return_attention=True
    )
    return ["".join(DIGITS[t] for t in found.best(b) if t != END) for b in range(len(dates))], found


def draw(model: Reader, spelling: str, days: list[datetime.date], right: bool, path: Path) -> None:
    """Draws the first of these days that the model reads rightly, or wrongly, and says so."""
    dates = [spell(spelling, day) for day in days]
    written, found = decode(model, dates)
    good = [text == day.isoformat() for text, day in zip(written, days, strict=True)]
    print(f"{spelling}: {sum(good)} of {len(days)} right")
    if right not in good:
        print(f"  none to draw for {path.name}")
        return
    b = good.index(right)
    truth = days[b].isoformat()
    wrong = [i for i, c in enumerate(written[b]) if i >= len(truth) or c != truth[i]]
    weights = found.attention[b, 0]
    s2sfast.plot.attention(
        weights, list(dates[b]), list(written[b]), path, wrong=wrong, title=f"{dates[b]}: {written[b]}"
    )
    print(f"  {path.name}: {dates[b]!r} -> {written[b]!r}{'' if right else f', should be {truth!r}'}")
    for i in wrong or range(len(written[b])):
        most = int(weights[i, : len(dates[b])].argmax())
        seen = f"{dates[b][most]!r} (letter {most + 1}, weight {weights[i, most]:.2f})"
        print(f"    wrote {written[b][i]!r} looking at {seen}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("."), help="where the pictures go")
    parser.add_argument("--steps", type=int, default=400, help="of training")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small a model only waits for more
    first = datetime.date(1960, 1, 1)
    days = [first + datetime.timedelta(days=int(n)) for n in torch.randperm(365 * 80)]
    model = Reader()
    train(model, days[200:], arguments.steps)
    model.eval()
    draw(model, SPELLINGS[0], days[:200], True, arguments.folder / "attention_right.svg")
    draw(model, UNSEEN, days[:200], False, arguments.folder / "attention_wrong.svg")


if __name__ == "__main__":
    main()
