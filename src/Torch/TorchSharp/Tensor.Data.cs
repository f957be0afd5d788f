using System;
using AdvContrast.Torch.Binding;
using TorchSharp.Utils;

namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>The values, read and written in place; the tensor lies on the CPU.</summary>
        public TensorAccessor<T> data<T>() where T : unmanaged => new(this);

        /// <summary>The one value of a tensor with one element, of its own type.</summary>
        public T item<T>() where T : unmanaged
        {
            if (numel() != 1)
                throw new ArgumentException($"item needs a tensor of one element, not {Describe()}");
            ElementTypes.Check<T>(this);
            if (is_cpu()) return First(this);
            using var host = Ops.to_device.Call(this, CPU, dtype);
            return First(host);

            static unsafe T First(Tensor tensor)
            {
                var value = *(T*)tensor.Info().Data;
                GC.KeepAlive(tensor);
                return value;
            }
        }

        /// <summary>The one value of a tensor with one element.</summary>
        public Scalar ToScalar()
        {
            using var plain = detach();
            return Ops._local_scalar_dense.CallScalar(plain);
        }

        /// <summary>The memory of a contiguous tensor on the CPU.</summary>
        public unsafe Span<byte> bytes
        {
            get
            {
                var info = Info();
                if (info.DeviceType != (int)DeviceType.CPU)
                    throw new InvalidOperationException(
                        "Only the bytes of a tensor on the CPU can be reached.");
                if ((info.Flags & TensorFlags.Contiguous) == 0)
                    throw new InvalidOperationException(
                        "Only the bytes of a contiguous tensor can be reached.");
                return new Span<byte>(info.Data, checked((int)(info.Count * info.ElementSize)));
            }
            set
            {
                var own = bytes;
                if (own.Length != value.Length)
                    throw new ArgumentException(
                        $"The tensor has {own.Length} bytes and was given {value.Length}.");
                value.CopyTo(own);
            }
        }

        public static explicit operator float(Tensor value) => value.ToSingle();
        public static explicit operator double(Tensor value) => value.ToDouble();
        public static explicit operator sbyte(Tensor value) => value.ToSByte();
        public static explicit operator byte(Tensor value) => value.ToByte();
        public static explicit operator short(Tensor value) => value.ToInt16();
        public static explicit operator int(Tensor value) => value.ToInt32();
        public static explicit operator long(Tensor value) => value.ToInt64();
        public static explicit operator bool(Tensor value) => value.ToBoolean();

        public override string ToString() => TensorPrinter.Print(this, TensorStringStyle.Metadata);

        public string ToString(
            bool disamb, string? fltFormat = null, int? width = null,
            System.Globalization.CultureInfo? cultureInfo = null, string? newLine = null) =>
            TensorPrinter.Print(
                this, disamb ? TensorStringStyle.Numpy : TensorStringStyle.Metadata, fltFormat, cultureInfo,
                newLine);

        public string ToString(
            TensorStringStyle style, string? fltFormat = null, int? width = null,
            System.Globalization.CultureInfo? cultureInfo = null, string? newLine = null) =>
            TensorPrinter.Print(this, style, fltFormat, cultureInfo, newLine);
    }
}
