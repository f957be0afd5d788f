using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using AdvContrast.Engine;
using Microsoft.FSharp.Core;
using TorchSharp;

namespace AdvContrast.Bench.Steps;

/// <summary>Our side of a comparison of steps: the same program as those of bench/peers.</summary>
internal static class Answers
{
    internal const string Command = "steps-side";

    /// <summary>Takes a recipe, a precision, threads, a device, and images a step.</summary>
    internal static void Run(string[] args)
    {
        var recipe = Recipe.All.Single(recipe => recipe.Name == args[0]) with
        {
            Device = torch.device(args[3]),
            Batch = int.Parse(args[4]),
        };
        var precision = args[1] switch
        {
            "plain" => Core.Precision.Plain,
            "float32" => Core.Precision.Float32,
            _ => Core.Precision.BFloat16,
        };
        torch.set_num_threads(int.Parse(args[2]));
        Core.Accelerator.convolveInTf32(recipe.Device, false);
        using var steps = Losses(recipe, recipe.Training(precision)).GetEnumerator();

        while (Console.ReadLine() is { } line)
        {
            var request = line.Split(' ', 2);
            Console.WriteLine(request[0] switch
            {
                "start" => $"{TorchEngine.Current.LibTorch.Version} {torch.get_num_threads()}",
                "time" => Text(Seconds(int.Parse(request[1]))),
                "write" => Written(request[1]),
                "peak" => Text(TorchEngine.Current.Memory(recipe.Device).Peak),
                _ => Check(),
            });
        }

        double Seconds(int count)
        {
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < count; i++) steps.MoveNext();
            return Stopwatch.GetElapsedTime(start).TotalSeconds / count;
        }

        string Written(string path)
        {
            recipe.Write(path);
            return path;
        }

        // The first step's loss, and what its adversary reached.
        string Check()
        {
            Core.Training[] looks = [recipe.Training(precision), recipe.Scoring(precision)];
            return string.Join(' ', looks.Select(look => Text(Losses(recipe, look).First())));
        }
    }

    private static IEnumerable<double> Losses(Recipe recipe, Core.Training training) =>
        Core.TrainingModule
            .events(training, FuncConvert.FromFunc(recipe.Start))
            .Select(e => e.IsOk ? e.ResultValue.Loss : double.NaN);

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);
}
