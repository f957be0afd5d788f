using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text.Json;
using TorchSharp;

namespace AdvContrast.Bench.Steps;

/// <summary>A training step beside PyTorch: time and memory, as ratios.</summary>
internal static class Comparison
{
    private const int Threads = 2;
    private const int WarmUp = 2;
    private const int FewestPairs = 5;
    private const int MostPairs = 9;
    private const double Patience = 300;
    private const string Results = "bench/results/steps.json";

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true };

    // Ours beside which of PyTorch's.
    private static readonly (string Ours, string Theirs)[] Beside =
    [
        ("auto", "published"), ("auto", "competent"), ("plain", "plain"),
    ];

    // What is compared, but not timed.
    private const string Checked = "float32";

    /// <summary>What a side gives for the shared weights and images, and what it takes.</summary>
    internal sealed record Figures(string Kind, string Torch, double Loss, double Reached)
    {
        /// <summary>Seconds a step, each a mean over several of a fast side's.</summary>
        public List<double> Seconds { get; } = [];
        /// <summary>The most memory, in MiB.</summary>
        public double Peak { get; set; }
        internal double Median => Seconds.Order().ElementAt(Seconds.Count / 2);
    }

    /// <summary>A recipe's figures of both sides.</summary>
    internal sealed record Result(
        string Method, string Device, int Batch, List<Figures> Ours, List<Figures> PyTorch);

    /// <summary>
    /// Compares the recipes named, or all: <c>NAME ... --device cuda --batch 512</c>. 1 where the two sides do not
    /// agree.
    /// </summary>
    internal static int Run(string[] args)
    {
        var names = args.TakeWhile(word => !word.StartsWith("--")).ToList();
        var options = args[names.Count..].Chunk(2).ToList();
        if (options.Find(option => option is not ["--device" or "--batch", _]) is { } odd)
            return Refuse($"{odd[0]} is not understood; there are: --device cuda, --batch 512");
        string Option(string name, string usual) => options.FindLast(option => option[0] == name)?[1] ?? usual;
        var device = Core.ConfigurationModule.device(Option("--device", "cpu"));
        if (device.IsError) return Refuse(Core.ErrorModule.message(device.ErrorValue));
        if (!int.TryParse(Option("--batch", "32"), out var batch) || batch < 2)
            return Refuse("--batch: a number of images, 2 or more");
        var known = string.Join(", ", Recipe.All.Select(recipe => recipe.Name));
        if (names.Find(name => Recipe.All.All(recipe => recipe.Name != name)) is { } unknown)
            return Refuse($"no step is called {unknown}; there are: {known}");
        var recipes = Recipe.All
            .Where(recipe => names.Count == 0 || names.Contains(recipe.Name))
            .Select(recipe => recipe with { Device = device.ResultValue, Batch = batch })
            .ToList();

        var results = new List<Result>();
        try
        {
            foreach (var recipe in recipes) results.Add(Compare(recipe));
        }
        catch (SideEndedException e)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
        if (results.Exists(result => result.Ours[0].Seconds.Count == 0)) return 1;

        Directory.CreateDirectory(Path.GetDirectoryName(Results)!);
        File.WriteAllText(Results, JsonSerializer.Serialize(results, Json) + "\n");
        return 0;
    }

    private static int Refuse(string why)
    {
        Console.Error.WriteLine(why);
        return 2;
    }

    private static Result Compare(Recipe recipe)
    {
        var file = Path.GetTempFileName();
        try
        {
            List<Figures> ours = [], theirs = [];
            foreach (var kind in Beside.Select(pair => pair.Ours).Append(Checked).Distinct())
            {
                using var side = Ours(recipe, kind);
                if (ours.Count == 0) side.Ask($"write {file}");
                ours.Add(Check(kind, side));
            }
            foreach (var kind in Beside.Select(pair => pair.Theirs).Distinct())
            {
                using var side = Theirs(recipe, kind, file);
                theirs.Add(Check(kind, side));
            }
            var result = new Result(recipe.Name, recipe.Device.ToString(), recipe.Batch, ours, theirs);
            if (Agree(result))
            {
                // What the check took of memory is none of a step's: new processes.
                var timed = ours.FindAll(figures => figures.Kind != Checked);
                var sides = timed.ConvertAll(figures => (figures, Ours(recipe, figures.Kind)));
                sides.AddRange(theirs.ConvertAll(figures => (figures, Theirs(recipe, figures.Kind, file))));
                Measure(sides, recipe.Device.type == DeviceType.CUDA);
                Print(result);
            }
            return result;
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static Side Ours(Recipe recipe, string kind) => new(
        [
            .. Side.Ourselves, Answers.Command, recipe.Name, kind, $"{Threads}", recipe.Device.ToString(),
            $"{recipe.Batch}",
        ],
        Threads);

    private static Side Theirs(Recipe recipe, string kind, string file) => new(
        [Side.Python, recipe.Peer, kind, $"{Threads}", file, recipe.Device.ToString()], Threads);

    private static Figures Check(string kind, Side side)
    {
        var numbers = side.Ask("check").Split(' ').Select(Side.Number).ToArray();
        return new(kind, side.Torch, numbers[0], numbers[1]);
    }

    /// <summary>
    /// Whether the same operations in float32 give the same loss, and the attack reaches the same objective,
    /// to 1e-5, and every attack the same to 1 %: steps along signs turn sums in another order into other
    /// signs here and there. What differs by more is another step.
    /// </summary>
    private static bool Agree(Result result)
    {
        var reference = result.PyTorch.Single(figures => figures.Kind == "published");
        var agree = true;
        foreach (var figures in result.Ours.Concat(result.PyTorch))
        {
            var same = figures.Kind is "plain" or "published";
            var loss = Math.Abs(figures.Loss - reference.Loss) / reference.Loss;
            var reached = Math.Abs(figures.Reached - reference.Reached) / reference.Reached;
            var mine = result.Ours.Contains(figures) ? "ours" : "PyTorch";
            Console.WriteLine(
                $"{result.Method}, {mine}, {figures.Kind}: loss {figures.Loss:F6} ({loss:G2} apart), "
                + $"attack reaches {figures.Reached:F6} ({reached:G2} apart)");
            agree &= reached <= (same ? 1e-5 : 1e-2) && (!same || loss <= 1e-5);
        }
        if (!agree) Console.Error.WriteLine($"{result.Method}: the two sides do not agree");
        return agree;
    }

    private static void Measure(List<(Figures Figures, Side Side)> sides, bool onCard)
    {
        try
        {
            foreach (var (_, side) in sides) side.Seconds(WarmUp);
            // All look at the machine for about as long as the slowest takes for a step: a machine that is shared
            // changes its speed within a second, and what is short would see but one of its moods.
            var once = sides.ConvertAll(side => side.Side.Seconds(1));
            var order = sides
                .Zip(once, (side, own) => (side.Figures, side.Side, Steps: (int)Math.Round(once.Max() / own)))
                .ToList();
            var watch = Stopwatch.StartNew();
            for (var pair = 0; pair < MostPairs; pair++)
            {
                if (pair >= FewestPairs && watch.Elapsed.TotalSeconds > Patience) break;
                foreach (var (figures, side, steps) in order) figures.Seconds.Add(side.Seconds(steps));
                // Turn about, so that none is always the last.
                order.Reverse();
            }
            foreach (var (figures, side) in sides) figures.Peak = onCard ? side.PeakOnCard() : side.PeakMemory();
        }
        finally
        {
            sides.ForEach(side => side.Side.Dispose());
        }
    }

    private static void Print(Result result)
    {
        Console.WriteLine("| step | ours | PyTorch | ours | its | speed | pairs | our peak | its | memory |");
        Console.WriteLine("|---|---|---|---:|---:|---:|---:|---:|---:|---:|");
        foreach (var (mine, its) in Beside)
        {
            var ours = result.Ours.Single(figures => figures.Kind == mine);
            var theirs = result.PyTorch.Single(figures => figures.Kind == its);
            var pairs = theirs.Seconds.Zip(ours.Seconds, (a, b) => a / b).Order().ToList();
            Console.WriteLine(
                $"| {result.Method} | {mine} | {its} | {ours.Median:F3} s | {theirs.Median:F3} s "
                + $"| {theirs.Median / ours.Median:F2} | {pairs[0]:F2} to {pairs[^1]:F2} "
                + $"| {ours.Peak:F0} MiB | {theirs.Peak:F0} MiB | {ours.Peak / theirs.Peak:F2} |");
        }
    }
}
