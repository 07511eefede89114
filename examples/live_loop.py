"""Change the mixture inside a run, in a plain PyTorch loop: every 20 steps the hardest domain's share doubles.

Usage: python live_loop.py CORPUS_FOLDER     a folder written by `cuvee prepare`
"""

import sys

import torch
from torch.nn import functional
from torch.utils.data import DataLoader

import cuvee
from cuvee.stream.torch import TorchDataset

STEPS, EVERY, SEQ_LEN, BATCH = 100, 20, 64, 16


def main(folder: str) -> None:
    """Train, change, replay."""
    corpus = cuvee.Corpus.open(folder)
    schedule = cuvee.Schedule.constant(cuvee.Mixture.from_shares(dict.fromkeys(corpus.domains, 1.0)))
    dataset = TorchDataset(cuvee.Loader(corpus, schedule, seq_len=SEQ_LEN, seed=0, batch=BATCH))

    torch.manual_seed(0)
    vocabulary, domains_D = corpus.inventory.tokenizer.vocab_size, len(corpus.domains)
    model = torch.nn.Sequential(torch.nn.Embedding(vocabulary, 32), torch.nn.Linear(32, vocabulary))  # a bigram model
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    sums_D, counts_D, seen = torch.zeros(domains_D), torch.zeros(domains_D), []
    for step, (tokens, domains_B) in enumerate(DataLoader(dataset, batch_size=None), start=1):
        seen.append(tokens)
        logits = model(tokens[:, :-1])
        loss_B = functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)
        loss_B.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        sums_D.index_add_(0, domains_B, loss_B.detach())
        counts_D.index_add_(0, domains_B, torch.ones(len(domains_B)))
        if step % EVERY == 0 and step < STEPS:
            hardest = corpus.domains[int((sums_D / counts_D).argmax())]
            shares = dataset.schedule.phases[-1].mixture.as_dict()
            dataset.reweight(cuvee.Mixture.from_shares(shares | {hardest: 2 * shares[hardest]}))
            print(f"step {step}: loss {loss_B.mean():.3f}, more of {hardest}")
            sums_D.zero_()
            counts_D.zero_()
        if step == STEPS:
            break

    replay = cuvee.Loader(corpus, dataset.schedule, seq_len=SEQ_LEN, seed=0, batch=BATCH)
    same = all(torch.equal(tokens, torch.from_numpy(next(replay).tokens)) for tokens in seen)
    print(f"{len(dataset.schedule.phases) - 1} changes; the replayed schedule gives the same batches: {same}")


if __name__ == "__main__":
    main(sys.argv[1])
