using System.Linq;
using BenchmarkDotNet.Running;

namespace AdvContrast.Bench;

internal static class Program
{
    private static int Main(string[] args)
    {
        if (args.Contains("--quick"))
        {
            Quick.Run();
            return 0;
        }
        BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
        return 0;
    }
}
