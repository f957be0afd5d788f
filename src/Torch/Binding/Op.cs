using System;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace AdvContrast.Torch.Binding;

/// <summary>
/// One ATen operator, by name and overload. It is looked up when first called, so an operator that this
/// libtorch lacks hurts only who uses it.
/// </summary>
internal sealed unsafe class Op(string name, string overload = "")
{
    // lists of an operator's arguments up to this many cells are copied to the stack
    private const int StackCells = 128;

    private nint handle;

    /// <summary>Calls it for its one tensor.</summary>
    internal Tensor Call(params ReadOnlySpan<Arg> args)
    {
        Invoke(args, out var results, out _);
        return Tensor.Adopt((nint)results[0].Pointer);
    }

    /// <summary>Calls it for two tensors.</summary>
    internal (Tensor, Tensor) Call2(params ReadOnlySpan<Arg> args)
    {
        Invoke(args, out var results, out _);
        return (Tensor.Adopt((nint)results[0].Pointer), Tensor.Adopt((nint)results[1].Pointer));
    }

    /// <summary>Calls it for three tensors.</summary>
    internal (Tensor, Tensor, Tensor) Call3(params ReadOnlySpan<Arg> args)
    {
        var all = CallMany(args);
        return (all[0], all[1], all[2]);
    }

    /// <summary>Calls it for all its tensors, lists flattened.</summary>
    internal Tensor[] CallMany(params ReadOnlySpan<Arg> args)
    {
        Invoke(args, out var results, out var count);
        var tensors = new Tensor[count];
        for (var i = 0; i < count; i++) tensors[i] = Tensor.Adopt((nint)results[i].Pointer);
        return tensors;
    }

    /// <summary>Calls it for a truth value.</summary>
    internal bool CallBool(params ReadOnlySpan<Arg> args)
    {
        Invoke(args, out var results, out _);
        return results[0].Int != 0;
    }

    /// <summary>Calls it for a number.</summary>
    internal Scalar CallScalar(params ReadOnlySpan<Arg> args)
    {
        Invoke(args, out var results, out var count);
        if (count == 2) return new Complex(results[0].Double, results[1].Double);
        return results[0].Tag switch
        {
            Tag.Int => results[0].Int,
            Tag.Bool => results[0].Int != 0,
            _ => results[0].Double,
        };
    }

    /// <summary>Calls it for its effect on the first argument, and gives that tensor back.</summary>
    internal Tensor InPlace(params ReadOnlySpan<Arg> args)
    {
        Run(args, 0, null, null);
        return (Tensor)args[0].Reference!;
    }

    /// <summary>Calls it for its effect on the last argument, and gives that tensor back.</summary>
    internal Tensor Into(params ReadOnlySpan<Arg> args)
    {
        Run(args, 0, null, null);
        return (Tensor)args[^1].Reference!;
    }

    private void Invoke(ReadOnlySpan<Arg> args, out NativeValue* results, out int count)
    {
        NativeValue* found;
        int n;
        Run(args, 1, &found, &n);
        results = found;
        count = n;
    }

    [SkipLocalsInit]
    private void Run(ReadOnlySpan<Arg> args, int keep, NativeValue** results, int* count)
    {
        if (handle == 0) handle = Find();
        var cells = 0;
        foreach (ref readonly var arg in args) cells += arg.Cells;
        if (cells > StackCells)
        {
            RunWithHeap(args, cells, keep, results, count);
            return;
        }
        var values = stackalloc NativeValue[args.Length];
        var lists = stackalloc long[cells];
        Send(args, values, lists, keep, results, count);
    }

    private void RunWithHeap(ReadOnlySpan<Arg> args, int cells, int keep, NativeValue** results, int* count)
    {
        var values = stackalloc NativeValue[args.Length];
        var lists = (long*)NativeMemory.Alloc((nuint)cells, sizeof(long));
        try
        {
            Send(args, values, lists, keep, results, count);
        }
        finally
        {
            NativeMemory.Free(lists);
        }
    }

    private void Send(
        ReadOnlySpan<Arg> args, NativeValue* values, long* lists, int keep, NativeValue** results, int* count)
    {
        for (var i = 0; i < args.Length; i++) Fill(in args[i], values + i, ref lists);
        var done = NativeMethods.adv_call(handle, values, args.Length, keep, results, count);
        // a finaliser must not free a tensor that only the arguments hold while native code reads it
        foreach (ref readonly var arg in args) GC.KeepAlive(arg.Reference);
        if (done == 0) throw Failure(args);
    }

    private static void Fill(in Arg arg, NativeValue* value, ref long* lists)
    {
        value->Tag = arg.Tag;
        value->Count = arg.Count;
        switch (arg.Tag)
        {
            case Tag.Tensor:
                value->Int = ((Tensor)arg.Reference!).Handle;
                return;
            case Tag.Generator:
                value->Int = ((Generator)arg.Reference!).Handle;
                return;
            case Tag.Ints:
                value->Pointer = lists;
                ((long[])arg.Reference!).CopyTo(new Span<long>(lists, arg.Count));
                break;
            case Tag.Doubles:
                value->Pointer = lists;
                ((double[])arg.Reference!).CopyTo(new Span<double>(lists, arg.Count));
                break;
            case Tag.Tensors:
                value->Pointer = lists;
                var tensors = (Tensor?[])arg.Reference!;
                for (var i = 0; i < tensors.Length; i++) lists[i] = tensors[i]?.Handle ?? 0;
                break;
            case Tag.String:
                value->Pointer = lists;
                var text = (string)arg.Reference!;
                value->Count = Encoding.UTF8.GetBytes(text, new Span<byte>(lists, arg.Cells * sizeof(long)));
                break;
            case Tag.Complex:
                value->Pointer = lists;
                var number = (Complex)arg.Reference!;
                lists[0] = BitConverter.DoubleToInt64Bits(number.Real);
                lists[1] = BitConverter.DoubleToInt64Bits(number.Imaginary);
                break;
            default:
                value->Int = arg.Bits;
                return;
        }
        lists += arg.Cells;
    }

    private nint Find()
    {
        fixed (byte* operatorName = Encoding.UTF8.GetBytes("aten::" + name + '\0'))
        fixed (byte* overloadName = Encoding.UTF8.GetBytes(overload + '\0'))
        {
            var found = NativeMethods.adv_op(operatorName, overloadName);
            if (found != 0) return found;
        }
        throw new ExternalException($"aten::{name}: {NativeMethods.Error}");
    }

    /// <summary>The fault, naming the operator and the types and shapes that it was given.</summary>
    private ExternalException Failure(ReadOnlySpan<Arg> args)
    {
        var message = NativeMethods.Error;
        var text = new StringBuilder("aten::").Append(name).Append('(');
        var first = true;
        foreach (ref readonly var arg in args)
        {
            if (arg.Reference is not (Tensor or Tensor?[])) continue;
            text.Append(first ? "" : ", ");
            first = false;
            text.Append(
                arg.Reference is Tensor?[] all
                    ? $"[{string.Join(", ", Array.ConvertAll(all, Name))}]"
                    : Name((Tensor)arg.Reference));
        }
        return new ExternalException(text.Append("): ").Append(message).ToString());

        static string Name(Tensor? tensor) => tensor is null ? "None" : tensor.Describe();
    }
}
