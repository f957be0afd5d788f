using System;
using System.Collections.Generic;
using Microsoft.FSharp.Core;
using TorchSharp;

namespace AdvContrast;

/// <summary>
/// A pre-trained encoder, ready to be used and evaluated. It owns native memory; dispose it when done.
/// </summary>
public sealed class Encoder : IDisposable
{
    private readonly Core.Runs.Encoder inner;
    private readonly FSharpFunc<torch.Tensor, torch.Tensor> features;
    private bool disposed;

    internal Encoder(Core.Runs.Encoder inner, string? warning = null)
    {
        this.inner = inner;
        features = Core.Runs.EncoderModule.features(inner);
        Warning = warning;
    }

    /// <summary>How it was made; Out is null, for an encoder does not know where it lies.</summary>
    public PretrainOptions Options => PretrainOptions.Of(inner.Configuration);

    /// <summary>The width f of its features.</summary>
    public long FeatureWidth => inner.Network.FeatureWidth;

    /// <summary>The device that it computes on and expects images on.</summary>
    public torch.Device Device => inner.Device;

    /// <summary>How the file of another program was understood, in sentences; none for a run.</summary>
    public IReadOnlyList<string> Notes => inner.Notes;

    /// <summary>That an older checkpoint was used because the newest is damaged; else null.</summary>
    public string? Warning { get; }

    internal Core.Runs.Encoder Inner
    {
        get
        {
            ObjectDisposedException.ThrowIf(disposed, this);
            return inner;
        }
    }

    /// <summary>Loads an encoder.</summary>
    /// <param name="path">The folder of a run, or a .safetensors file of one or from Save.</param>
    /// <exception cref="AdvContrastException">
    /// Missing or Damaged; Runtime without libtorch.
    /// </exception>
    /// <remarks>It computes on the device that it was trained on where this machine has it, or on the CPU.</remarks>
    public static Encoder Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Load(path, FSharpOption<torch.Device>.None);
    }

    /// <summary>Loads an encoder onto a device.</summary>
    /// <param name="path">The folder of a run, or a .safetensors file of one or from Save.</param>
    /// <param name="device">Where it computes: torch.CPU or torch.CUDA.</param>
    /// <exception cref="AdvContrastException">
    /// Missing or Damaged; BadOption where the device is not here; Runtime without libtorch.
    /// </exception>
    public static Encoder Load(string path, torch.Device device)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(device);
        return Load(path, FSharpOption<torch.Device>.Some(Here(device)));
    }

    /// <summary>Loads weights that another program trained.</summary>
    /// <param name="path">A file with a state dict: .safetensors, or .pth or .pt of torch.save.</param>
    /// <param name="network">Which network they are of: <c>"resnet50-imagenet"</c>; see Workbench.Networks.
    /// Its width, and the channels of its images, are the file's.</param>
    /// <param name="normalise">What images were normalised by: <c>"none"</c>, <c>"imagenet"</c>,
    /// <c>"cifar10"</c>, <c>"cifar100"</c> or <c>"MEAN/STD"</c>, numbers with commas; null for what the file
    /// says, else for ImageNet's where the network is named so.</param>
    /// <param name="prefix">What the names of the network begin with, or the end of that, where the file holds
    /// several networks: <c>"encoder_k"</c>.</param>
    /// <param name="batchNorm">Which batch norms, where each layer has several: a number from 0, <c>"clean"</c>
    /// or <c>"adv"</c>.</param>
    /// <param name="device">Where it computes; null for the CPU.</param>
    /// <exception cref="AdvContrastException">
    /// Missing; Damaged where names or shapes do not fit; UnknownName; BadOption; Runtime without libtorch.
    /// </exception>
    public static Encoder Load(
        string path, string network, string? normalise = null, string? prefix = null, string? batchNorm = null,
        torch.Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(network);
        var options = new Core.Runs.ForeignOptions(
            network, OptionModule.OfObj(normalise), OptionModule.OfObj(prefix), OptionModule.OfObj(batchNorm));
        return Interop.Run(() => new Encoder(
            Core.Runs.Pretrained.ofOptions(options, Here(device ?? torch.CPU), path).OrThrow()));
    }

    private static Encoder Load(string path, FSharpOption<torch.Device>? device) => Interop.Run(() =>
    {
        var (encoder, warning) = Core.Runs.EncoderModule.loadOn(device, path).OrThrow();
        return new Encoder(encoder, warning.OrNull());
    });

    // The device, where this machine has it.
    private static torch.Device Here(torch.Device device) =>
        Core.Runs.PretrainConfigModule.device(device.ToString()).OrThrow();

    /// <summary>The features of images; differentiable in the images.</summary>
    /// <param name="images">[n; c; h; w], floating point in [0, 1], on the encoder's device.</param>
    /// <returns>[n; f], float32; belongs to the caller's dispose scope.</returns>
    /// <exception cref="ArgumentException">Another rank, or images that are not floating point.</exception>
    /// <exception cref="ObjectDisposedException">The encoder has been disposed.</exception>
    public torch.Tensor Features(torch.Tensor images)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Images.Require(images, nameof(images));
        return features.Invoke(images);
    }

    /// <summary>
    /// Writes the encoder alone, without head and training state, as a .safetensors file that Load reads, and
    /// PyTorch as well: the tensors bear PyTorch's names.
    /// </summary>
    /// <exception cref="AdvContrastException">NotWritable, also where the network is not one of Networks; BadOption
    /// where the file's name has another ending.</exception>
    /// <exception cref="ObjectDisposedException">The encoder has been disposed.</exception>
    public void Save(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        Core.Runs.EncoderModule.save(path, Inner).OrThrow();
    }

    /// <summary>Frees its native memory; a second call does nothing.</summary>
    public void Dispose()
    {
        if (!disposed) ((IDisposable)inner).Dispose();
        disposed = true;
    }
}
