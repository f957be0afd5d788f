using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using AdvContrast.Engine;
using TorchSharp;

namespace AdvContrast.Bench;

/// <summary>
/// The requests that a worker reads, one a line, and answers with a line: the peers in bench/peers know them
/// too.
/// </summary>
internal static class Requests
{
    /// <summary>The version of libtorch, and its number of threads.</summary>
    internal const string Version = "start";

    /// <summary><c>time CALLS</c>: seconds a call.</summary>
    internal const string Time = "time";

    /// <summary><c>check FILE</c>: numbers of a first call; float32 values go into the file.</summary>
    internal const string Check = "check";

    /// <summary>Answers until the input ends.</summary>
    /// <param name="call">What is timed.</param>
    /// <param name="check">The numbers and values of a first call.</param>
    /// <param name="other">The answer to another request, with its argument.</param>
    internal static void Answer(
        Action call, Func<(double[] Numbers, float[] Values)> check,
        Func<string, string, string>? other = null)
    {
        while (Console.ReadLine() is { } line)
        {
            var (name, argument) = line.Split(' ', 2) is [var first, var rest] ? (first, rest) : (line, "");
            Console.WriteLine(name switch
            {
                Version => $"{LibTorch.Version} {torch.get_num_threads()}",
                Time => Text(Seconds(call, int.Parse(argument))),
                Check => Checked(check, argument),
                _ => other?.Invoke(name, argument)
                    ?? throw new ArgumentException($"no request is called {name}"),
            });
        }
    }

    private static double Seconds(Action call, int calls)
    {
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < calls; i++) call();
        return Stopwatch.GetElapsedTime(start).TotalSeconds / calls;
    }

    private static string Checked(Func<(double[] Numbers, float[] Values)> check, string path)
    {
        var (numbers, values) = check();
        File.WriteAllBytes(path, MemoryMarshal.AsBytes<float>(values).ToArray());
        return string.Join(' ', numbers.Select(Text));
    }

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);
}
