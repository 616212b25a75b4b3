"""Posteriors of a two-channel Gaussian random field seen along random tracks, beside the exact one.

The field is periodic, with a spectrum (1 + (length k)^2)^-5/2; the second channel is 0.6 of the
first plus 0.8 of an independent field. Straight tracks at random angles observe both channels with
error 0.2. The posterior given the tracks is Gaussian and computed exactly.

    python benchmarks/field_posterior.py --size 64 --minutes 30 --heads regression flow score
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from vardax_core.analysis.amortized.config import AmortizedConfig
from vardax_core.analysis.amortized.conv_encoder import ConvObsEncoder
from vardax_core.analysis.amortized.heads.eof_flow import EOFFlowHead, leading_eofs
from vardax_core.analysis.amortized.heads.networks import FieldNetwork
from vardax_core.analysis.amortized.heads.noise import VarianceExploding
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.heads.score import ScoreDiffusionHead
from vardax_core.analysis.amortized.heads.unet_score import UNetScoreNetwork
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.sources import SimulatorSource
from vardax_core.types import Batch2DMultivar

MIXING = np.array([[1.0, 0.0], [0.6, 0.8]])
ERROR_SD = 0.2
SCALES = (8.0, 4.0, 2.0, 1.0)
"""Lengths of the encoder's successive corrections, in grid points."""
BARS = {"regression": (1.05, 0.10), "score": (1.10, 0.15)}
"""Largest ratio of the RMSE to that of the exact mean, and largest mean |sd / exact sd - 1|."""


def spectrum_of(size, length):
    """Variance of every wave number; the field has unit variance."""
    k = 2 * np.pi * np.fft.fftfreq(size)
    squared = k[:, None] ** 2 + k[None, :] ** 2
    spectrum = (1 + length**2 * squared) ** -2.5
    return spectrum / spectrum.mean()


def draw_fields(key, n, spectrum):
    """`n` two-channel fields."""
    size = spectrum.shape[0]
    noise = jax.random.normal(key, (n, 2, size, size))
    waves = jnp.fft.fft2(noise) * jnp.sqrt(jnp.asarray(spectrum, noise.dtype))
    independent = jnp.fft.ifft2(waves).real
    return jnp.einsum("cd,ndyx->ncyx", jnp.asarray(MIXING, noise.dtype), independent)


def draw_tracks(key, n, size, n_tracks):
    """Masks (n, size, size) of points within half a point of straight lines."""
    place_key, angle_key = jax.random.split(key)
    places = jax.random.uniform(place_key, (n, n_tracks, 2), maxval=float(size))
    angles = jax.random.uniform(angle_key, (n, n_tracks), maxval=jnp.pi)
    axis = jnp.arange(size) + 0.5
    y = axis[None, None, :, None] - places[..., 1][..., None, None]
    x = axis[None, None, None, :] - places[..., 0][..., None, None]
    sine, cosine = jnp.sin(angles)[..., None, None], jnp.cos(angles)[..., None, None]
    return jnp.any(jnp.abs(x * sine - y * cosine) < 0.5, axis=1)


def simulate(key, n, spectrum, n_tracks):
    """A batch of fields seen along tracks."""
    field_key, track_key, noise_key = jax.random.split(key, 3)
    fields = draw_fields(field_key, n, spectrum)
    seen = draw_tracks(track_key, n, spectrum.shape[0], n_tracks)
    mask = jnp.broadcast_to(seen[:, None], fields.shape).astype(fields.dtype)
    noisy = fields + ERROR_SD * jax.random.normal(noise_key, fields.shape, fields.dtype)
    return Batch2DMultivar(input=(noisy * mask)[:, None], mask=mask[:, None], target=fields)


def exact_posterior(values, mask, spectrum):
    """Mean and sd of every element given one sample's observations."""
    size = spectrum.shape[0]
    covariance = np.fft.ifft2(spectrum).real
    between = MIXING @ MIXING.T
    channel, y, x = np.nonzero(mask)

    def cov(c0, y0, x0, c1, y1, x1):
        lag = covariance[(y0 - y1) % size, (x0 - x1) % size]
        return between[c0, c1] * lag

    all_c, all_y, all_x = (a.reshape(-1, 1) for a in np.indices((2, size, size)))
    observed = cov(channel[:, None], y[:, None], x[:, None], channel, y, x)
    cross = cov(all_c, all_y, all_x, channel, y, x)
    root = np.linalg.cholesky(observed + ERROR_SD**2 * np.eye(len(y)))
    whitened = np.linalg.solve(root, cross.T)
    mean = whitened.T @ np.linalg.solve(root, values[channel, y, x])
    variance = between[all_c, all_c].reshape(-1) - np.sum(whitened**2, axis=0)
    shape = (2, size, size)
    return mean.reshape(shape), np.sqrt(variance).reshape(shape)


def build(head_type, size, width, levels, spectrum, key):
    """The posterior of one head."""
    encoder_key, head_key, eof_key = jax.random.split(key, 3)
    state = (2, size, size)
    channels = width
    encoder = ConvObsEncoder(
        1,
        channels,
        n_dims=2,
        n_variables=2,
        hidden_channels=width,
        levels=levels,
        patch=2,
        scales=SCALES,
        key=encoder_key,
    )
    context = (channels, size, size)
    if head_type == "regression":
        rank = 4
        network = FieldNetwork(context, state, 2 + rank, hidden_dim=width, key=head_key)
        head = RegressionHead(context, state, rank=rank, network=network, key=head_key)
    elif head_type == "flow":
        anomalies = draw_fields(eof_key, 256, spectrum)
        eofs = leading_eofs(anomalies, 32)
        head = EOFFlowHead(context, state, eofs, hidden_dim=width, n_layers=4, key=head_key)
    else:
        network = UNetScoreNetwork(
            context, state, width=width, levels=max(1, levels - 1), patch=2, key=head_key
        )
        process = VarianceExploding(sigma_min=0.01, sigma_max=50.0, log_mean=-0.8, log_sd=1.4)
        gaussian = FieldNetwork(context, state, 2, hidden_dim=width, key=eof_key)
        head = ScoreDiffusionHead(
            context,
            state,
            network=network,
            gaussian=gaussian,
            process=process,
            n_steps=24,
            key=head_key,
        )
    return AmortizedPosterior(encoder, head, AmortizedConfig(head_type))


@eqx.filter_jit
def _moments(posterior, batch, key, n):
    return posterior.marginals(batch, key, n)


@eqx.filter_jit
def _sample(posterior, batch, key, n):
    return posterior.sample(batch, key, n)


def timed_training(posterior, source, validation, options, key):
    """Train for a number of steps, or for as many as the time allows, found from timed ones."""
    chunk = options.chunk

    def settings_for(n_chunks):
        return FitSettings(
            n_steps=n_chunks * chunk,
            check_every=chunk,
            learning_rate=options.learning_rate,
            ema=0.995,
            clip=1.0,
            patience=None,
        )

    n_chunks = options.steps // chunk
    if options.minutes:
        moments = []
        fit(
            posterior,
            source,
            validation,
            settings=settings_for(3),
            key=key,
            on_check=lambda *_: moments.append(time.perf_counter()),
        )
        n_chunks = max(2, int(60 * options.minutes / ((moments[2] - moments[0]) / 2)))
    start = time.perf_counter()
    result = fit(posterior, source, validation, settings=settings_for(n_chunks), key=key)
    return result, time.perf_counter() - start


def measure(head_type, options, spectrum, test, exact, key):
    """Train one head and compare its moments with the exact ones."""
    posterior = build(head_type, options.size, options.width, options.levels, spectrum, key)
    source = SimulatorSource(
        partial(simulate, n=options.batch, spectrum=spectrum, n_tracks=options.tracks),
        jax.random.fold_in(key, 1),
    )
    validation = simulate(jax.random.fold_in(key, 2), 32, spectrum, options.tracks)
    result, seconds = timed_training(posterior, source, validation, options, key)
    exact_mean, exact_sd = exact
    moments = [
        _moments(
            result.posterior,
            jax.tree.map(lambda a, i=i: a[i : i + 1], test),
            jax.random.fold_in(key, 10 + i),
            options.samples,
        )
        for i in range(options.cases)
    ]
    mean = np.concatenate([np.asarray(m) for m, _ in moments])
    sd = np.concatenate([np.asarray(s) for _, s in moments])
    truth = np.asarray(test.target)
    rmse, exact_rmse = (float(np.sqrt(np.mean((m - truth) ** 2))) for m in (mean, exact_mean))
    one = jax.tree.map(lambda a: a[:1], test)
    samples = jax.block_until_ready(_sample(result.posterior, one, key, options.samples))
    start = time.perf_counter()
    jax.block_until_ready(_sample(result.posterior, one, jax.random.key(1), options.samples))
    rate = options.samples / (time.perf_counter() - start)
    flops = _sample.lower(result.posterior, one, key, options.samples).compile().compiled
    cost = flops.cost_analysis() or {}
    per_sample = float(cost.get("flops", 0.0)) / options.samples
    row = {
        "head": head_type,
        "rmse": rmse,
        "exact_rmse": exact_rmse,
        "rmse_ratio": rmse / exact_rmse,
        "sd_deviation": float(np.mean(np.abs(sd / exact_sd - 1))),
        "rms_sd_ratio": float(np.sqrt(np.mean(sd**2) / np.mean(exact_sd**2))),
        "training_minutes": seconds / 60,
        "steps": result.steps[-1],
        "samples_per_second": rate,
        "counted_tflops": rate * per_sample / 1e12,
    }
    return row, mean, sd, np.asarray(samples[0, :3])


def picture(path, head_type, truth, observed, mask, exact, found, samples):
    """First channel of the first case: truth, observations, means, sds and three samples."""
    seen = np.where(mask > 0, observed, np.nan)
    first, second, third = samples
    panels = [
        ("truth", truth, "field"),
        ("observations", seen, "field"),
        (f"{head_type} sample 1", first, "field"),
        ("exact mean", exact[0], "field"),
        (f"{head_type} mean", found[0], "field"),
        (f"{head_type} sample 2", second, "field"),
        ("exact sd", exact[1], "sd"),
        (f"{head_type} sd", found[1], "sd"),
        (f"{head_type} sample 3", third, "field"),
    ]
    figure = Figure(figsize=(10.5, 9.6), layout="constrained")
    limit, sd_limit = float(np.abs(truth).max()), float(exact[1].max())
    for axes, (title, values, kind) in zip(figure.subplots(3, 3).flat, panels, strict=True):
        if kind == "field":
            shown = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        else:
            shown = axes.imshow(values, cmap="viridis", vmin=0, vmax=sd_limit)
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
        figure.colorbar(shown, ax=axes, shrink=0.8, label="units of the prior sd")
    figure.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a 16 x 16 grid, under a minute")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--heads", nargs="+", default=["regression", "flow", "score"])
    parser.add_argument("--minutes", type=float, default=0.0, help="training time of each head")
    parser.add_argument("--steps", type=int, default=4000, help="used if no minutes are given")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--length", type=float, default=5.0, help="correlation length, points")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=50)
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="of the device, if known")
    parser.add_argument("--out", type=Path, default=Path("build/field_posterior"))
    options = parser.parse_args()
    if options.quick:
        options.size, options.width, options.levels, options.batch = 16, 16, 2, 8
        options.heads, options.steps, options.chunk = ["regression"], 40, 20
        options.cases, options.samples, options.tracks = 2, 8, 3
    options.out.mkdir(parents=True, exist_ok=True)
    spectrum = spectrum_of(options.size, options.length)
    key = jax.random.key(0)
    test = simulate(jax.random.fold_in(key, 99), options.cases, spectrum, options.tracks)
    pairs = [
        exact_posterior(np.asarray(test.input[i, 0]), np.asarray(test.mask[i, 0]), spectrum)
        for i in range(options.cases)
    ]
    exact = tuple(np.stack([p[i] for p in pairs]) for i in range(2))
    rows, bars = [], []
    print(
        f"{'head':12}{'RMSE':>8}{'exact':>8}{'ratio':>8}{'sd dev':>8}{'sd rms':>8}{'min':>7}"
        f"{'steps':>7}{'samples/s':>11}"
    )
    for head_type in options.heads:
        row, mean, sd, samples = measure(head_type, options, spectrum, test, exact, key)
        if options.peak_tflops:
            row["share_of_peak"] = row["counted_tflops"] / options.peak_tflops
        rows.append(row)
        print(
            f"{head_type:12}{row['rmse']:>8.4f}{row['exact_rmse']:>8.4f}{row['rmse_ratio']:>8.3f}"
            f"{row['sd_deviation']:>8.3f}{row['rms_sd_ratio']:>8.3f}{row['training_minutes']:>7.1f}"
            f"{row['steps']:>7}{row['samples_per_second']:>11.1f}",
            flush=True,
        )
        picture(
            options.out / f"{head_type}.png",
            head_type,
            np.asarray(test.target[0, 0]),
            np.asarray(test.input[0, 0, 0]),
            np.asarray(test.mask[0, 0, 0]),
            (exact[0][0, 0], exact[1][0, 0]),
            (mean[0, 0], sd[0, 0]),
            samples[:, 0],
        )
        if head_type in BARS:
            for name, value, bar in zip(
                ("RMSE / exact", "sd deviation"),
                (row["rmse_ratio"], row["sd_deviation"]),
                BARS[head_type],
                strict=True,
            ):
                bars.append(
                    {
                        "name": f"{head_type} {name}",
                        "value": value,
                        "bar": bar,
                        "pass": value <= bar,
                    }
                )
    figures = {
        "size": options.size,
        "rows": rows,
        "device": jax.devices()[0].device_kind,
        "pictures": str(options.out),
    }
    print(json.dumps({"name": "field_posterior", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
