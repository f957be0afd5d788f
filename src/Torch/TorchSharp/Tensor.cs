using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>A handle to a tensor of libtorch's.</summary>
    public partial class Tensor : IDisposable
    {
        private nint handle;

        /// <summary>The scope that will dispose it, or null.</summary>
        internal DisposeScope? OwningScope;

        private Tensor(nint handle)
        {
            this.handle = handle;
            if (handle == 0) GC.SuppressFinalize(this);
            else DisposeScopeManager.OfThread.Register(this);
        }

        ~Tensor() => Release();

        /// <summary>Handles that have not been freed, in the whole process.</summary>
        public static long TotalCount => NativeMethods.adv_live(0);

        /// <summary>The most that there have been at one time.</summary>
        public static long PeakCount => NativeMethods.adv_live(1);

        public nint Handle
        {
            get
            {
                if (handle == 0) ThrowInvalid();
                return handle;
            }
        }

        /// <summary>Whether it was disposed, or never had a value.</summary>
        public bool IsInvalid => handle == 0;

        /// <summary>Takes over a handle that the bridge gave.</summary>
        internal static Tensor Adopt(nint handle) => new(handle);

        public static Tensor UnsafeCreateTensor(nint handle) => new(handle);

        public void Dispose()
        {
            var scope = OwningScope;
            scope?.MarkAsDisposed(this);
            Free(inScope: scope is not null);
        }

        /// <summary>Frees the handle now; the scope has already let go of it.</summary>
        internal void Free(bool inScope)
        {
            if (!Release()) return;
            GC.SuppressFinalize(this);
            var counts = DisposeScopeManager.OfThread.Tensors;
            if (inScope) counts.DisposedInScopeCount++;
            else counts.DisposedOutsideScopeCount++;
        }

        /// <summary>Hands the handle to native code, which frees it.</summary>
        internal nint GiveUp()
        {
            DetachFromDisposeScope();
            GC.SuppressFinalize(this);
            return Interlocked.Exchange(ref handle, 0);
        }

        private bool Release()
        {
            var owned = Interlocked.Exchange(ref handle, 0);
            if (owned == 0) return false;
            NativeMethods.adv_free(owned);
            return true;
        }

        public Tensor MoveToOuterDisposeScope()
        {
            OwningScope?.MoveToOuter(this);
            return this;
        }

        public Tensor MoveToOtherDisposeScope(DisposeScope other)
        {
            if (OwningScope is null) other?.Attach(this);
            else if (other is null) OwningScope.Detach(this);
            else OwningScope.MoveToOther(other, this);
            return this;
        }

        /// <summary>Moves it to the scope that holds another tensor; to none where none does.</summary>
        public Tensor MoveToOtherDisposeScope(Tensor other) => MoveToOtherDisposeScope(other.OwningScope!);

        public Tensor DetachFromDisposeScope()
        {
            OwningScope?.Detach(this);
            return this;
        }

        public ScalarType dtype => (ScalarType)Info().DType;

        public Device device
        {
            get
            {
                var info = Info();
                return new Device((DeviceType)info.DeviceType, info.DeviceIndex);
            }
        }

        public DeviceType device_type => (DeviceType)Info().DeviceType;
        public int device_index => Info().DeviceIndex;
        public bool is_cuda => device_type == DeviceType.CUDA;
        public bool is_meta => device_type == DeviceType.META;
        public bool is_cpu() => device_type == DeviceType.CPU;
        public bool is_sparse => Info().Layout == 1;

        /// <summary>The lengths of its dimensions.</summary>
        public unsafe long[] shape
        {
            get
            {
                var info = Info();
                var lengths = new ReadOnlySpan<long>(info.Sizes, (int)info.Dim).ToArray();
                GC.KeepAlive(this);
                return lengths;
            }
        }

        public long[] size() => shape;

        public unsafe long size(int dim)
        {
            var info = Info();
            var length = info.Sizes[Wrap(dim, info.Dim)];
            GC.KeepAlive(this);
            return length;
        }

        public unsafe long[] stride()
        {
            var info = Info();
            var dims = info.Strides == null ? 0 : (int)info.Dim;
            var strides = new ReadOnlySpan<long>(info.Strides, dims).ToArray();
            GC.KeepAlive(this);
            return strides;
        }

        public long stride(int dim) => stride()[Wrap(dim, Info().Dim)];
        public long storage_offset() => Info().StorageOffset;

        public long dim() => Info().Dim;
        public long ndim => Info().Dim;
        public long Dimensions => Info().Dim;
        public long numel() => Info().Count;
        public long NumberOfElements => Info().Count;
        public long ElementSize => Info().ElementSize;
        public long element_size() => Info().ElementSize;
        public bool is_contiguous() => Has(TensorFlags.Contiguous);
        public bool is_conj() => Has(TensorFlags.Conjugated);
        public bool is_neg() => Has(TensorFlags.Negated);
        public bool is_leaf => Has(TensorFlags.IsLeaf);

        public bool is_floating_point() => torch.is_floating_point(dtype);
        public bool is_complex() => torch.is_complex(dtype);
        public bool is_integral() => torch.is_integral(dtype);

        public bool requires_grad
        {
            get => Has(TensorFlags.RequiresGrad);
            set
            {
                NativeMethods.Check(NativeMethods.adv_set_requires_grad(Handle, value ? 1 : 0));
                GC.KeepAlive(this);
            }
        }

        public Tensor requires_grad_(bool requires_grad = true)
        {
            this.requires_grad = requires_grad;
            return this;
        }

        public Tensor with_requires_grad(bool requires_grad = true) => requires_grad_(requires_grad);

        /// <summary>What backward has gathered here, or null.</summary>
        public unsafe Tensor? grad
        {
            get
            {
                nint found;
                NativeMethods.Check(NativeMethods.adv_get_grad(Handle, &found));
                GC.KeepAlive(this);
                return found == 0 ? null : Adopt(found);
            }
            set
            {
                NativeMethods.Check(NativeMethods.adv_set_grad(Handle, value?.Handle ?? 0));
                GC.KeepAlive(this);
                GC.KeepAlive(value);
            }
        }

        public void retain_grad()
        {
            NativeMethods.Check(NativeMethods.adv_retain_grad(Handle));
            GC.KeepAlive(this);
        }

        public void backward() => autograd.backward(this, (IList<Tensor>?)null);

        public void backward(
            IList<Tensor>? grad_tensors = null, bool retain_graph = false, bool create_graph = false,
            IList<Tensor>? inputs = null) =>
            autograd.backward(this, grad_tensors, retain_graph, create_graph, inputs);

        /// <summary>Whether both have the same shape and values.</summary>
        public bool Equals(Tensor? target) => target is not null && Ops.equal.CallBool(this, target);

        public override bool Equals(object? obj) => obj is Tensor other && Equals(other);

        /// <summary>Of the handle's identity, not of the values.</summary>
        public override int GetHashCode() => RuntimeHelpers.GetHashCode(this);

        /// <summary>All about it but the values, in one native call.</summary>
        internal unsafe TensorInfo Info()
        {
            TensorInfo info;
            NativeMethods.Check(NativeMethods.adv_info(Handle, &info));
            GC.KeepAlive(this);
            return info;
        }

        /// <summary>Type and shape, for messages: float32[2, 3].</summary>
        internal string Describe()
        {
            if (IsInvalid) return "undefined";
            var place = is_cpu() ? "" : $" on {device}";
            return $"{TensorPrinter.Name(dtype)}[{string.Join(", ", shape)}]{place}";
        }

        private bool Has(TensorFlags flag) => (Info().Flags & flag) != 0;

        private static int Wrap(long dim, long count)
        {
            if (dim < -count || dim >= count)
                throw new ArgumentOutOfRangeException(
                    nameof(dim), $"dimension {dim} of a tensor that has {count} dimensions");
            return (int)(dim < 0 ? dim + count : dim);
        }

        private static void ThrowInvalid() =>
            throw new ObjectDisposedException(
                nameof(Tensor), "The tensor was disposed, or never had a value.");
    }
}
