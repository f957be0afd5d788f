using System;
using System.Runtime.InteropServices;
using System.Text.Unicode;
using TorchSharp;

namespace AdvContrast.Torch.Binding;

/// <summary>A managed function as the gradient of a step of libtorch's graph.</summary>
internal static unsafe class Pullback
{
    /// <summary>
    /// Makes y, computed of x without a graph, an outcome of x: the gradient in x is what the function makes
    /// of the gradient in y. </summary>
    internal static void Attach(torch.Tensor x, torch.Tensor y, Func<torch.Tensor, torch.Tensor> gradient)
    {
        // the last to be made: from there on native code frees it
        NativeMethods.Check(NativeMethods.adv_autograd_attach(
            x.Handle, y.Handle, &Pull, &Drop, GCHandle.ToIntPtr(GCHandle.Alloc(gradient))));
        GC.KeepAlive(x);
        GC.KeepAlive(y);
    }

    // No exception may cross into native code: its message does.
    [UnmanagedCallersOnly]
    private static nint Pull(nint state, nint gradient, byte* message, int bytes)
    {
        try
        {
            using var scope = torch.NewDisposeScope();
            var pull = (Func<torch.Tensor, torch.Tensor>)GCHandle.FromIntPtr(state).Target!;
            return pull(torch.Tensor.Adopt(gradient)).GiveUp();
        }
        catch (Exception e)
        {
            // as much of it as there is room for before the closing zero
            Utf8.FromUtf16(e.Message, new Span<byte>(message, bytes - 1), out var _, out var _);
            return 0;
        }
    }

    [UnmanagedCallersOnly]
    private static void Drop(nint state) => GCHandle.FromIntPtr(state).Free();
}
