namespace AdvContrast.Bench;

/// <summary>The libraries that comparisons run beside each other.</summary>
internal static class Library
{
    internal const string Ours = "AdvContrast";
    internal const string TorchSharp = "TorchSharp";
    internal const string PyTorch = "PyTorch";
}
