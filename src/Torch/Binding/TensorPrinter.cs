using System.Globalization;
using System.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace AdvContrast.Torch.Binding;

/// <summary>Tensors as text.</summary>
internal static class TensorPrinter
{
    // of a longer dimension the first and last few are shown
    private const long Shown = 6;

    internal static string Name(ScalarType type) => type switch
    {
        ScalarType.Byte => "uint8",
        ScalarType.ComplexFloat32 => "complex64",
        ScalarType.ComplexFloat64 => "complex128",
        _ => type.ToString().ToLowerInvariant(),
    };

    internal static string Print(
        Tensor tensor, TensorStringStyle style, string? format = null, CultureInfo? culture = null,
        string? newLine = null)
    {
        if (tensor.IsInvalid) return "[undefined]";
        var head = $"[{string.Join("x", tensor.shape)}], type = {tensor.dtype}, device = {tensor.device}";
        if (style == TensorStringStyle.Metadata || tensor.is_meta) return head;
        using var scope = NewDisposeScope();
        var values = tensor.detach().cpu();
        var text = new StringBuilder(style == TensorStringStyle.Julia ? head + (newLine ?? "\n") : "");
        Write(values, text, 0, format ?? "g5", culture ?? CultureInfo.InvariantCulture, newLine ?? "\n");
        return text.ToString();
    }

    private static void Write(
        Tensor values, StringBuilder text, int depth, string format, CultureInfo culture, string newLine)
    {
        if (values.ndim == 0)
        {
            text.Append(Number(values.ToScalar(), format, culture));
            return;
        }
        var length = values.shape[0];
        var separator = values.ndim == 1 ? " " : newLine + new string(' ', depth + 1);
        text.Append('[');
        for (long i = 0; i < length; i++)
        {
            if (i > 0) text.Append(separator);
            if (length > 2 * Shown && i == Shown)
            {
                text.Append("...").Append(separator);
                i = length - Shown;
            }
            using var row = values.select(0, i);
            Write(row, text, depth + 1, format, culture, newLine);
        }
        text.Append(']');
    }

    private static string Number(Scalar value, string format, CultureInfo culture)
    {
        if (value.Type == ScalarType.Bool) return value.ToBoolean().ToString(culture);
        if (value.IsWhole) return value.Whole.ToString(culture);
        return value.IsComplex ? value.Number.ToString(format, culture) : value.ToDouble().ToString(format,
            culture);
    }
}
