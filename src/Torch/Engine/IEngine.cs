using System;
using System.Collections.Generic;
using TorchSharp;

namespace AdvContrast.Torch.Engine;

/// <summary>How an image tensor lies in memory.</summary>
public enum MemoryFormat
{
    /// <summary>Row by row: [n; c; h; w] in that order.</summary>
    Contiguous,

    /// <summary>
    /// Pixel by pixel: the channels of one pixel together, which convolutions read fastest.
    /// </summary>
    ChannelsLast,
}

/// <summary>
/// The libtorch in use: its folder, version, where it was found, and what it was recognised by.
/// </summary>
public sealed record LibTorchInfo(string Path, string Version, string Found, string Fingerprint);

/// <summary>One device of this machine; memory in bytes.</summary>
public sealed record DeviceDescription(
    torch.Device Device, string Name, long Memory, int Threads, bool HasAvx512Bfloat16, bool HasAmx)
{
    /// <summary>Whether its arithmetic in bfloat16 is faster than in float32.</summary>
    public bool HasFastBfloat16 => HasAvx512Bfloat16 || HasAmx || Device.type == DeviceType.CUDA;
}

/// <summary>
/// Bytes that tensors take now, the most they have taken, and what is held of the system for them.
/// </summary>
public readonly record struct MemoryStatistics(long Allocated, long Peak, long Reserved);

/// <summary>What training needs of libtorch beyond TorchSharp's names.</summary>
public interface IEngine
{
    /// <summary>Where the tensors come from: "system" or "nuget".</summary>
    string Source { get; }

    /// <summary>The libtorch in use.</summary>
    LibTorchInfo LibTorch { get; }

    /// <summary>Whether Autocast works.</summary>
    bool HasAutocast { get; }

    /// <summary>
    /// On this thread, until disposed, convolutions and matrix products run in the given type, and what needs
    /// precision runs in float32.
    /// </summary>
    /// <exception cref="NotSupportedException">The tensors come from a source without autocast.</exception>
    IDisposable Autocast(DeviceType device, torch.ScalarType dtype);

    /// <summary>The same values in the given layout, as a new handle; differentiable.</summary>
    torch.Tensor ToMemoryFormat(torch.Tensor x, MemoryFormat format);

    /// <summary>
    /// What a linear map makes of x, whose gradient in x is what the map's adjoint makes of the outcome's: for
    /// an adjoint that has a faster form than libtorch's. Where the source cannot put it there, the gradient is
    /// libtorch's of the map itself, the same but for rounding.
    /// </summary>
    torch.Tensor WithAdjoint(
        torch.Tensor x, Func<torch.Tensor, torch.Tensor> map, Func<torch.Tensor, torch.Tensor> adjoint);

    /// <summary>The CPU and every CUDA device.</summary>
    IReadOnlyList<DeviceDescription> Devices();

    /// <summary>The memory of a device; for the CPU, of this process.</summary>
    MemoryStatistics Memory(torch.Device device);

    /// <summary>
    /// From now on the process keeps the memory of freed tensors for the next ones: the system would clear
    /// every page of theirs anew. False where that cannot be had, or the environment sets malloc's ways.
    /// </summary>
    bool KeepMemory();

    /// <summary>Gives memory that no tensor uses back to the device.</summary>
    void EmptyCache();

    /// <summary>Whether operators without a repeatable form refuse to run.</summary>
    bool Deterministic { get; set; }

    /// <summary>Tensor handles that have not been freed, in the whole process.</summary>
    long LiveTensors { get; }
}

/// <summary>The engine that this build uses.</summary>
public static class TorchEngine
{
    /// <summary>The one engine of the process.</summary>
    public static IEngine Current { get; } = new Implementation();
}
