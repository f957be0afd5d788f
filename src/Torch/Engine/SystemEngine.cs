using System;
using System.Collections.Generic;
using AdvContrast.Torch.Binding;
using TorchSharp;

namespace AdvContrast.Torch.Engine;

/// <summary>The engine on our own binding to the machine's libtorch.</summary>
internal sealed class Implementation : IEngine
{
    // c10::MemoryFormat's numbers
    private const long NativeContiguous = 0;
    private const long NativeChannelsLast = 2;

    public string Source => "system";

    public LibTorchInfo LibTorch
    {
        get
        {
            var record = NativeLoader.Current();
            return new LibTorchInfo(
                record?.Path ?? "", torch.__version__, record?.Found ?? "", record?.Fingerprint ?? "");
        }
    }

    public bool HasAutocast => true;

    public IDisposable Autocast(DeviceType device, torch.ScalarType dtype) =>
        new AutocastScope(device, dtype);

    public torch.Tensor ToMemoryFormat(torch.Tensor x, MemoryFormat format) =>
        Ops.contiguous.Call(x, format == MemoryFormat.ChannelsLast ? NativeChannelsLast : NativeContiguous);

    public torch.Tensor WithAdjoint(
        torch.Tensor x, Func<torch.Tensor, torch.Tensor> map, Func<torch.Tensor, torch.Tensor> adjoint)
    {
        if (!torch.is_grad_enabled() || !x.requires_grad) return map(x);
        using var _ = torch.no_grad();
        var y = map(x);
        Pullback.Attach(x, y, adjoint);
        return y;
    }

    public IReadOnlyList<DeviceDescription> Devices()
    {
        var all = new List<DeviceDescription> { Machine.Cpu() };
        for (var i = 0; i < torch.cuda.device_count(); i++) all.Add(Machine.Cuda(i));
        return all;
    }

    public unsafe MemoryStatistics Memory(torch.Device device)
    {
        if (device.type == DeviceType.CPU) return Machine.Process();
        var bytes = stackalloc long[3];
        NativeMethods.Check(NativeMethods.adv_memory((int)device.type, device.index, bytes));
        return new MemoryStatistics(bytes[0], bytes[1], bytes[2]);
    }

    public bool KeepMemory() => NativeMethods.adv_keep_memory() != 0;

    public void EmptyCache()
    {
        if (!torch.cuda.is_available()) return;
        NativeMethods.Check(NativeMethods.adv_empty_cache((int)DeviceType.CUDA));
    }

    public bool Deterministic
    {
        get => NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.Deterministic, -1)) != 0;
        set => NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.Deterministic, value ? 1 : 0));
    }

    public long LiveTensors => torch.Tensor.TotalCount;

    private sealed unsafe class AutocastScope : IDisposable
    {
        private readonly AutocastState before;
        private bool open = true;

        internal AutocastScope(DeviceType device, torch.ScalarType dtype)
        {
            AutocastState state;
            NativeMethods.Check(NativeMethods.adv_autocast_enter((int)device, (int)dtype, &state));
            before = state;
        }

        public void Dispose()
        {
            if (!open) return;
            open = false;
            var state = before;
            NativeMethods.Check(NativeMethods.adv_autocast_exit(&state));
        }
    }
}
