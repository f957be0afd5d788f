using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;

namespace AdvContrast.Bench.Steps;

/// <summary>
/// Training steps of AdvContrast beside the same steps written out in TorchSharp, and in PyTorch where it is
/// there: time and memory, as ratios.
/// </summary>
/// <remarks>
/// <c>steps [acl-ds] [clae] [--pairs 9] [--malloc kept|default] [--python] [--threads 2] [--batch 32]
/// [--device cpu]</c>
/// </remarks>
internal static class Comparison
{
    private const int WarmUp = 2;
    private const string Results = "bench/results/steps.json";

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true };

    private sealed record Result(string Recipe, int Batch, int Threads, List<Figures> Sides);

    private sealed record Settings(Malloc Malloc, bool WithPython, int Rounds, int Threads);

    /// <summary>Compares the recipes named, or all. 1 where the sides do not agree.</summary>
    internal static int Run(string[] args)
    {
        var options = new Options(
            args, ["--pairs", "--malloc", "--threads", "--batch", "--device"], ["--python"]);
        var malloc = options.Text("--malloc", "kept") switch
        {
            "kept" => Malloc.Kept,
            "default" => Malloc.Default,
            _ => throw new UsageException("--malloc: kept or default"),
        };
        var device = Core.Runs.PretrainConfigModule.device(options.Text("--device", "cpu")).Value();
        var settings = new Settings(
            malloc, options.Has("--python"), options.Number("--pairs", 9, 1),
            options.Number("--threads", 2, 1));
        var recipes = options
            .Choose("step", Recipe.All, recipe => recipe.Name)
            .ConvertAll(recipe => recipe with
            {
                Batch = options.Number("--batch", recipe.Batch, 2),
                Device = device,
            });

        var results = new List<Result>();
        foreach (var recipe in recipes)
        {
            if (Compare(recipe, settings) is not { } sides) return 1;
            results.Add(new(recipe.Name, recipe.Batch, settings.Threads, sides));
        }
        Directory.CreateDirectory(Path.GetDirectoryName(Results)!);
        File.WriteAllText(Results, JsonSerializer.Serialize(results, Json) + "\n");
        return 0;
    }

    private static List<Side> Timed(Settings settings)
    {
        var malloc = settings.Malloc;
        List<Side> sides =
        [
            new(Library.Ours, Side.Auto, malloc), new(Library.TorchSharp, Side.Published, malloc),
            new(Library.Ours, Side.Plain, malloc), new(Library.TorchSharp, Side.Plain, malloc),
        ];
        if (malloc == Malloc.Kept) sides.Add(new(Library.TorchSharp, Side.Published, Malloc.Default));
        if (settings.WithPython)
        {
            sides.AddRange(
            [
                new(Library.PyTorch, Side.Published, malloc), new(Library.PyTorch, Side.Competent, malloc),
            ]);
        }
        return sides;
    }

    /// <summary>The figures of all sides, or null where they do not agree.</summary>
    private static List<Figures>? Compare(Recipe recipe, Settings settings)
    {
        var file = Path.GetTempFileName();
        try
        {
            recipe.Write(file);
            var timed = Timed(settings);
            var compared = timed
                .Append(new(Library.Ours, Side.Float32, settings.Malloc))
                .DistinctBy(side => (side.Library, side.Kind))
                .Select(side => (side, Check(side)))
                .ToList();
            if (!Agreement.Check(recipe.Name, compared)) return null;
            // In new processes: the memory of the checks is not part of a step's.
            var workers = timed.ConvertAll(Start);
            try
            {
                var figures = timed.Zip(workers, (side, worker) => new Figures(
                    side.ToString(), worker.Torch, recipe.Cost(side).Operations(recipe.Batch))).ToList();
                Measure([.. figures.Zip(workers)], settings.Rounds);
                Report.Print(recipe.Name, timed, figures);
                return figures;
            }
            finally
            {
                workers.ForEach(worker => worker.Dispose());
            }
        }
        finally
        {
            File.Delete(file);
        }

        Worker Start(Side side) => side.Library == Library.PyTorch
            ? Worker.StartPython(
                [recipe.Peer, side.Kind, $"{settings.Threads}", file, recipe.Device.ToString()],
                settings.Threads, side.Malloc)
            : Worker.StartOurs(
                StepWorker.Arguments(recipe, side, settings.Threads, file), settings.Threads, side.Malloc);

        StepResults Check(Side side)
        {
            using var worker = Start(side);
            var (numbers, gradient) = worker.Check();
            return new(numbers[0], numbers[1], numbers[2], gradient);
        }
    }

    /// <summary>
    /// Times all sides, one after the other, round by round. Another round reverses the order, so that no
    /// side is always the last.
    /// </summary>
    private static void Measure(List<(Figures Figures, Worker Worker)> sides, int rounds)
    {
        foreach (var (_, worker) in sides) worker.Seconds(WarmUp);
        // A shared machine changes its speed within a second, so a fast side makes several steps in a round.
        var once = sides.ConvertAll(side => side.Worker.Seconds(1));
        var longest = once.Max();
        var turn = sides
            .Zip(once, (side, own) => (side.Figures, side.Worker, Steps: (int)Math.Round(longest / own)))
            .ToList();
        for (var round = 0; round < rounds; round++)
        {
            foreach (var (figures, worker, steps) in turn) figures.Seconds.Add(worker.Seconds(steps));
            turn.Reverse();
        }
        foreach (var (figures, worker) in sides) figures.PeakMemory = worker.PeakMemory();
    }
}
