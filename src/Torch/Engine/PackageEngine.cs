using System;
using System.Collections.Generic;
using System.IO;
using TorchSharp;

namespace AdvContrast.Torch.Engine;

/// <summary>
/// The engine on the TorchSharp package, which has no autocast, memory formats or statistics of devices.
/// </summary>
internal sealed class Implementation : IEngine
{
    public string Source => "nuget";

    public LibTorchInfo LibTorch
    {
        get
        {
            var path = Path.GetDirectoryName(typeof(torch).Assembly.Location) ?? "";
            return new LibTorchInfo(path, torch.__version__, "nuget", "");
        }
    }

    public bool HasAutocast => false;

    public IDisposable Autocast(DeviceType device, torch.ScalarType dtype) => throw Needs("Autocast");

    public torch.Tensor ToMemoryFormat(torch.Tensor x, MemoryFormat format)
    {
        // contiguous gives the very tensor back where nothing is to be done
        var same = x.contiguous();
        return ReferenceEquals(same, x) || same.Handle == x.Handle ? x.alias() : same;
    }

    public torch.Tensor WithAdjoint(
        torch.Tensor x, Func<torch.Tensor, torch.Tensor> map, Func<torch.Tensor, torch.Tensor> adjoint) =>
        map(x);

    public IReadOnlyList<DeviceDescription> Devices()
    {
        var all = new List<DeviceDescription> { Machine.Cpu() };
        for (var i = 0; i < torch.cuda.device_count(); i++) all.Add(Machine.Cuda(i));
        return all;
    }

    public MemoryStatistics Memory(torch.Device device) =>
        device.type == DeviceType.CPU ? Machine.Process() : throw Needs("The memory of a device");

    public bool KeepMemory() => false;

    public void EmptyCache() { }

    public bool Deterministic
    {
        get => false;
        set
        {
            if (value) throw Needs("The deterministic mode");
        }
    }

    public long LiveTensors => torch.Tensor.TotalCount;

    private static NotSupportedException Needs(string what) => new($"{what} needs TorchSource=system.");
}
