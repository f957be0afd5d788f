using System;
using System.Collections.Generic;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>No operation is recorded on this thread until disposed.</summary>
    public static IDisposable no_grad() => new GradModeScope(false);

    public static IDisposable enable_grad(bool enabled = true) => new GradModeScope(enabled);
    public static IDisposable set_grad_enabled(bool mode = true) => new GradModeScope(mode);
    public static IDisposable inference_mode(bool mode = true) => new InferenceScope(mode);

    public static bool is_grad_enabled() =>
        NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.GradMode, -1)) != 0;

    public static bool is_inference_mode_enabled() =>
        NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.InferenceMode, -1)) != 0;

    private sealed class GradModeScope(bool on) : IDisposable
    {
        private int before = NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.GradMode, on ? 1 : 0));

        public void Dispose()
        {
            if (before >= 0) NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.GradMode, before));
            before = -1;
        }
    }

    private sealed class InferenceScope(bool on) : IDisposable
    {
        private nint guard = NativeMethods.adv_inference_enter(on ? 1 : 0);

        public void Dispose()
        {
            if (guard != 0) NativeMethods.adv_inference_exit(guard);
            guard = 0;
        }
    }

    /// <summary>Gradients by reverse-mode differentiation.</summary>
    public static partial class autograd
    {
        /// <summary>
        /// The gradients of the outputs' sum with respect to the inputs. With allow_unused, the gradient of
        /// an input that has no part in the outputs is a tensor that IsInvalid. </summary>
        public static unsafe IList<Tensor> grad(
            IList<Tensor> outputs, IList<Tensor> inputs, IList<Tensor>? grad_outputs = null,
            bool retain_graph = false, bool create_graph = false, bool allow_unused = false)
        {
            var from = Handles(outputs);
            var to = Handles(inputs);
            var seeds = Handles(grad_outputs);
            var found = new nint[to.Length];
            int done;
            fixed (nint* f = from, t = to, s = seeds, r = found)
            {
                // a graph that is itself differentiated later must survive this pass
                done = NativeMethods.adv_autograd_grad(
                    f, from.Length, t, to.Length, s, seeds.Length, retain_graph || create_graph ? 1 : 0,
                    create_graph ? 1 : 0, allow_unused ? 1 : 0, r);
            }
            // a finaliser must not free a tensor that only these lists hold while native code reads it
            GC.KeepAlive(outputs);
            GC.KeepAlive(inputs);
            GC.KeepAlive(grad_outputs);
            NativeMethods.Check(done);
            return Array.ConvertAll(found, Tensor.Adopt);
        }

        /// <summary>Adds the gradients of the tensors to the leaves' grad.</summary>
        public static unsafe void backward(
            IList<Tensor> tensors, IList<Tensor>? grad_tensors = null, bool? retain_graph = null,
            bool create_graph = false, IList<Tensor>? inputs = null)
        {
            var from = Handles(tensors);
            var seeds = Handles(grad_tensors);
            var to = Handles(inputs);
            var retain = retain_graph is { } keep ? (keep || create_graph ? 1 : 0) : -1;
            int done;
            fixed (nint* f = from, s = seeds, t = to)
            {
                done = NativeMethods.adv_autograd_backward(
                    f, from.Length, s, seeds.Length, retain, create_graph ? 1 : 0, t, to.Length);
            }
            GC.KeepAlive(tensors);
            GC.KeepAlive(grad_tensors);
            GC.KeepAlive(inputs);
            NativeMethods.Check(done);
        }

        public static void backward(
            Tensor tensor, IList<Tensor>? grad_tensors = null, bool? retain_graph = null,
            bool create_graph = false, IList<Tensor>? inputs = null) =>
            backward([tensor], grad_tensors, retain_graph, create_graph, inputs);

        public static void backward(
            Tensor tensor, Tensor grad_tensor, bool? retain_graph = null, bool create_graph = false,
            IList<Tensor>? inputs = null) =>
            backward([tensor], [grad_tensor], retain_graph, create_graph, inputs);

        private static nint[] Handles(IList<Tensor>? tensors)
        {
            if (tensors is null) return [];
            var handles = new nint[tensors.Count];
            for (var i = 0; i < handles.Length; i++) handles[i] = tensors[i]?.Handle ?? 0;
            return handles;
        }
    }
}
