using System;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

// The same values with another type, device or history; and values put in place.
public static partial class torch
{
    public partial class Tensor
    {
        public Tensor to(
            string device, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            to(new Device(device), copy, disposeAfter, non_blocking);

        public Tensor to(
            DeviceType deviceType, int deviceIndex = -1, bool copy = false, bool disposeAfter = false,
            bool non_blocking = false) =>
            to(new Device(deviceType, deviceIndex), copy, disposeAfter, non_blocking);

        public Tensor to(
            Device device, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            After(
                Ops.to_dtype_layout.Call(this, Arg.None, Arg.None, device, Arg.None, non_blocking, copy),
                disposeAfter);

        public Tensor to(
            ScalarType type, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            After(Ops.to_dtype.Call(this, type, non_blocking, copy), disposeAfter);

        public Tensor to(
            ScalarType type, Device device, bool copy = false, bool disposeAfter = false,
            bool non_blocking = false) =>
            After(Ops.to_device.Call(this, device, type, non_blocking, copy), disposeAfter);

        public Tensor to(Tensor other, bool non_blocking = false) =>
            Ops.to_other.Call(this, other, non_blocking);

        public Tensor to_type(
            ScalarType type, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            to(type, copy, disposeAfter, non_blocking);

        public Tensor type(Func<Tensor, Tensor> typeFunc) => typeFunc(this);
        public Tensor type(ScalarType dtype) => to(dtype);

        public Tensor type_as(Tensor tensor) => to(tensor.dtype);
        public Tensor cpu() => to(CPU);

        public Tensor cuda(Device? device = null, bool non_blocking = false) =>
            to(device ?? CUDA, non_blocking: non_blocking);

        public Tensor @float() => to(ScalarType.Float32);
        public Tensor @double() => to(ScalarType.Float64);
        public Tensor half() => to(ScalarType.Float16);
        public Tensor bfloat16() => to(ScalarType.BFloat16);
        public Tensor @int() => to(ScalarType.Int32);
        public Tensor @long() => to(ScalarType.Int64);
        public Tensor @short() => to(ScalarType.Int16);
        public Tensor @byte() => to(ScalarType.Byte);
        public Tensor @char() => to(ScalarType.Int8);
        public Tensor @bool() => to(ScalarType.Bool);
        public Tensor cfloat() => to(ScalarType.ComplexFloat32);
        public Tensor cdouble() => to(ScalarType.ComplexFloat64);
        public Tensor contiguous() => Ops.contiguous.Call(this);
        public Tensor clone() => Ops.clone.Call(this);
        public Tensor detach() => Ops.detach.Call(this);
        public Tensor detach_() => Ops.detach_.InPlace(this);
        public Tensor pin_memory() => Ops.pin_memory.Call(this);
        public bool is_pinned() => Ops.is_pinned.CallBool(this);

        public Tensor copy_(Tensor source, bool nonBlocking = false) =>
            Ops.copy_.InPlace(this, source, nonBlocking);

        public Tensor fill_(Scalar value) => Ops.fill__Scalar.InPlace(this, value);
        public Tensor zero_() => Ops.zero_.InPlace(this);

        public Tensor normal_(double mean = 0, double std = 1, Generator? generator = null) =>
            Ops.normal_.InPlace(this, mean, std, generator);

        public Tensor uniform_(double from, double to, Generator? generator = null) =>
            Ops.uniform_.InPlace(this, from, to, generator);

        public Tensor bernoulli(Generator? generator = null) => Ops.bernoulli.Call(this, generator);

        public Tensor bernoulli_(double p = 0.5, Generator? generator = null) =>
            Ops.bernoulli__float.InPlace(this, p, generator);

        public Tensor bernoulli_(Tensor p, Generator? generator = null) =>
            Ops.bernoulli__Tensor.InPlace(this, p, generator);

        public Tensor exponential_(double lambda = 1, Generator? generator = null) =>
            Ops.exponential_.InPlace(this, lambda, generator);

        public Tensor multinomial(long num_samples, bool replacement = false, Generator? generator = null) =>
            Ops.multinomial.Call(this, num_samples, replacement, generator);

        public Tensor zeros_like(
            ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Ops.zeros_like.Call(this, dtype, Arg.None, device).requires_grad_(requires_grad);

        public Tensor ones_like(
            ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Ops.ones_like.Call(this, dtype, Arg.None, device).requires_grad_(requires_grad);

        public Tensor empty_like(
            ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Ops.empty_like.Call(this, dtype, Arg.None, device).requires_grad_(requires_grad);

        public Tensor full_like(
            Scalar value, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Ops.full_like.Call(this, value, dtype, Arg.None, device).requires_grad_(requires_grad);

        public Tensor rand_like(
            ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Ops.rand_like.Call(this, dtype, Arg.None, device).requires_grad_(requires_grad);

        public Tensor randn_like(
            ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Ops.randn_like.Call(this, dtype, Arg.None, device).requires_grad_(requires_grad);
    }
}
