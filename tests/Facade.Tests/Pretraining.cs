using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using AdvContrast;
using Expecto;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static Raised;

/// <summary>Pre-training through the C# door: progress, folders, repetition, stopping and going on.</summary>
public static class Pretraining
{
    [Tests]
    public static Test Tests => TestList(
        "Pretraining",
        [
            TestCase("reports every step and leaves a run in its folder", ReportsEveryStep),
            TestCase("gives the same features for the same seed and others for another", SameSeed),
            TestCase("repeats a run from its run.json", Repeats),
            TestCase("trains what comes first, or takes a run in its place", Stages),
            TestCase("reads the runs that stand for stages from a run.json", ReadsGiven),
            TestCase("stops at a given step, with a checkpoint that resumes", StopsAndResumes),
            TestCase("trains a finished run further, and refuses what no longer counts", Further),
            TestCase("does nothing under a token that is cancelled already", CancelledBefore),
            TestCase("ends with the exception of a listener that raises one", ListenerRaises),
            TestCase("is a sequence of steps", Sequence),
            TestCase("stops when its sequence is left, with a checkpoint", SequenceLeft),
            TestCase("leaves no tensor behind", NoLeak),
        ]);

    private static void ReportsEveryStep()
    {
        using var folder = new Folder();
        var heard = new Heard<TrainingProgress>();
        using var run = Tiny.Wait(
            Workbench.PretrainAsync(Tiny.Options with { Epochs = 2, Out = folder.At("run") }, heard));

        Expect.sequenceEqual(heard.Select(p => p.Step), [1L, 2, 3, 4, 5, 6, 7, 8], "steps");
        Expect.sequenceEqual(heard.Select(p => p.Epoch), [1, 1, 1, 1, 2, 2, 2, 2], "epochs");
        Expect.isTrue(heard.All(p => p.Stage == "simclr"), "the method alone, no stage before it");
        Expect.isTrue(heard.All(p => p.Steps == 8 && p.Epochs == 2 && double.IsFinite(p.Loss)), "the rest");
        Expect.equal(run.Last, heard[^1], "the last step");
        Expect.equal(run.Last.Fraction, 1.0, "all is done");
        Expect.equal(run.Folder, folder.At("run"), "its folder");
        Expect.isTrue(File.Exists(folder.At("run/run.json")), "run.json");
        Expect.isTrue(File.Exists(folder.At("run/checkpoint.safetensors")), "the checkpoint");
        Expect.equal(run.Encoder.Options, Tiny.Options with { Epochs = 2 }, "how it was made");

        using var loaded = Encoder.Load(folder.At("run"));
        Expect.sequenceEqual(Tiny.Features(loaded), Tiny.Features(run.Encoder), "the features");
        Expect.equal(loaded.Warning, null, "nothing to warn of");
    }

    private static void SameSeed()
    {
        float[] Features(ulong seed)
        {
            var options = Tiny.Options with { Method = "acl-ds", Seed = seed };
            using var run = Tiny.Wait(Workbench.PretrainAsync(options));
            Expect.equal(run.Folder, null, "nothing is kept on disk");
            return Tiny.Features(run.Encoder);
        }

        var first = Features(1);
        Expect.sequenceEqual(Features(1), first, "the same seed");
        Expect.isFalse(Features(2).SequenceEqual(first), "another seed");
    }

    private static void Repeats()
    {
        using var folder = new Folder();
        var options = Tiny.Options with
        {
            Method = "acl-ds",
            LearningRate = 2e-3,
            Threat = Threat.Linf(8.0 / 255),
            Seed = 3,
            Threads = 1,
        };
        using var run = Tiny.Wait(Workbench.PretrainAsync(options with { Out = folder.Path }));

        var again = PretrainOptions.FromRun(folder.At("run.json"));
        Expect.equal(again, options, "the options");
        using var repeated = Tiny.Wait(Workbench.PretrainAsync(again));
        Expect.sequenceEqual(Tiny.Features(repeated.Encoder), Tiny.Features(run.Encoder), "the features");
    }

    private static void Stages()
    {
        using var folder = new Folder();
        var heard = new Heard<TrainingProgress>();
        var options = Tiny.Options with { Method = "deacl", Epochs = 2 };
        using var run = Tiny.Wait(Workbench.PretrainAsync(options with { Out = folder.At("run") }, heard));
        Expect.sequenceEqual(heard.Select(p => p.Stage).Distinct(), ["deacl/teacher", "deacl"], "stages");

        var given = new Dictionary<string, string> { ["teacher"] = folder.At("run/teacher") };
        var again = new Heard<TrainingProgress>();
        var shorter = options with { Given = given, Epochs = run.Last.Epochs };
        using var second = Tiny.Wait(Workbench.PretrainAsync(shorter, again));
        Expect.sequenceEqual(again.Select(p => p.Stage).Distinct(), ["deacl"], "the teacher is there already");
        Expect.sequenceEqual(Tiny.Features(second.Encoder), Tiny.Features(run.Encoder), "the features");
    }

    private static void ReadsGiven()
    {
        using var folder = new Folder();
        var file = folder.At("run.json");
        File.WriteAllText(file, """{"method": "simclr", "given": {"teacher": "runs/a", "last": "runs/b"}}""");
        var given = PretrainOptions.FromRun(file).Given;
        Expect.sequenceEqual(given.Keys.Order(), ["last", "teacher"], "stages");
        Expect.equal(given["teacher"], "runs/a", "a run");

        File.WriteAllText(file, """{"method": "simclr"}""");
        Expect.isEmpty(PretrainOptions.FromRun(file).Given, "none are given");
    }

    private static void StopsAndResumes()
    {
        using var folder = new Folder();
        using var stop = new CancellationTokenSource();
        var options = Tiny.Options with { Epochs = 3 };
        var heard = new Heard<TrainingProgress>(p =>
        {
            if (p.Step == 6) stop.Cancel();
        });
        var task = Workbench.PretrainAsync(options with { Out = folder.Path }, heard, stop.Token);

        var raised = Throws<OperationCanceledException>(() => Tiny.Wait(task), "the stop");
        Expect.equal(raised.CancellationToken, stop.Token, "whose stop it was");
        Expect.isTrue(task.IsCanceled, "the task is cancelled");
        Expect.equal(heard.Count, 6, "steps until the stop");
        Encoder.Load(folder.Path).Dispose();

        var rest = new Heard<TrainingProgress>();
        using var resumed = Tiny.Wait(Workbench.ResumeAsync(folder.Path, rest));
        using var whole = Tiny.Wait(Workbench.PretrainAsync(options));
        Expect.sequenceEqual(rest.Select(p => p.Step), [7L, 8, 9, 10, 11, 12], "the steps that were left");
        Expect.sequenceEqual(
            Tiny.Features(resumed.Encoder), Tiny.Features(whole.Encoder), "as if never stopped");
    }

    private static void Further()
    {
        using var folder = new Folder();
        Tiny.Wait(Workbench.PretrainAsync(Tiny.Options with { Out = folder.Path })).Dispose();
        AdvContrastException Refused(Task<PretrainResult> task) =>
            Throws<AdvContrastException>(() => Tiny.Wait(task), "refused");

        var finished = Refused(Workbench.ResumeAsync(folder.Path));
        Expect.stringContains(finished.Message, "finished", "nothing is left");

        var heard = new Heard<TrainingProgress>();
        var longer = new ResumeOptions { Epochs = 2, Threads = 1 };
        using var run = Tiny.Wait(Workbench.ResumeAsync(folder.Path, longer, heard));
        Expect.equal(run.Last.Epochs, 2, "epochs in all");
        Expect.isTrue(heard[0].Notes.Any(note => note.Contains("2 epochs instead of 1")), "what it does");
        Expect.equal(run.Encoder.Options.Epochs, 2, "what the encoder says");

        var fewer = Refused(Workbench.ResumeAsync(folder.Path, new ResumeOptions { Epochs = 1 }));
        Expect.stringContains(fewer.Message, "--epochs", "fewer");
        var away = Refused(Workbench.ResumeAsync(folder.Path, new ResumeOptions { Epochs = 3, Device = "cuda:9" }));
        Expect.stringContains(away.Message, "--device", "a card that is not there");

        var threat = Refused(Workbench.PretrainAsync(Tiny.Options with { Threat = Threat.Linf(0.1) }));
        Expect.stringContains(threat.Message, "no adversary", "a threat without an adversary");
        var kept = Refused(Workbench.PretrainAsync(Tiny.Options with { Keep = 3 }));
        Expect.stringContains(kept.Message, "no folder", "checkpoints without a folder");

        var replacing = Tiny.Options with { Out = folder.Path, Overwrite = true, Seed = 9 };
        using var replaced = Tiny.Wait(Workbench.PretrainAsync(replacing));
        Expect.equal(PretrainOptions.FromRun(folder.At("run.json")).Seed, 9UL, "the run in its place");
        Throws<ArgumentException>(
            () => Tiny.Wait(Workbench.PretrainAsync(Tiny.Options with { Overwrite = true })), "nothing to replace");

        using var asked = Encoder.Load(folder.Path, torch.CPU);
        Expect.sequenceEqual(Tiny.Features(asked), Tiny.Features(replaced.Encoder), "on the device asked for");
        Throws<AdvContrastException>(
            () => Encoder.Load(folder.Path, torch.CPU.ToString(), device: torch.CPU), "no network of that name");
        Throws<AdvContrastException>(() => asked.Save(folder.At("encoder.pt")), "the ending of another format");
    }

    private static void CancelledBefore()
    {
        using var folder = new Folder();
        var task = Workbench.PretrainAsync(
            Tiny.Options with { Out = folder.At("run") },
            cancellation: new CancellationToken(canceled: true));
        Throws<TaskCanceledException>(() => Tiny.Wait(task), "the stop");
        Expect.isFalse(Directory.Exists(folder.At("run")), "a folder");
    }

    private static void ListenerRaises()
    {
        var heard = new Heard<TrainingProgress>(_ => throw new TimeoutException());
        var task = Workbench.PretrainAsync(Tiny.Options, heard);
        Throws<TimeoutException>(() => Tiny.Wait(task), "its exception");
        Expect.equal(heard.Count, 1, "steps");
    }

    private static async Task Sequence()
    {
        using var folder = new Folder();
        List<long> steps = [];
        var options = Tiny.Options with { Out = folder.Path };
        await foreach (var p in Workbench.PretrainSteps(options)) steps.Add(p.Step);
        Expect.sequenceEqual(steps, [1L, 2, 3, 4], "steps");
        Encoder.Load(folder.Path).Dispose();

        var bad = Workbench.PretrainSteps(options with { Method = "simclear" }).GetAsyncEnumerator();
        Throws<AdvContrastException>(() => Tiny.Wait(bad.MoveNextAsync().AsTask()), "a fault");
    }

    private static async Task SequenceLeft()
    {
        using var folder = new Folder();
        var options = Tiny.Options with { Epochs = 1000, Out = folder.Path };
        await foreach (var p in Workbench.PretrainSteps(options))
            if (p.Step == 2) break;
        Encoder.Load(folder.Path).Dispose();
    }

    private static void NoLeak()
    {
        using var folder = new Folder();
        var before = Tiny.Live();
        var options = Tiny.Options with { Out = folder.Path };
        var run = Tiny.Wait(Workbench.PretrainAsync(options with { Method = "acl-ds", Out = null }));
        Expect.isGreaterThan(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "the encoder holds tensors");
        run.Dispose();
        run.Dispose();
        Expect.equal(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "live tensors after a run");

        using var stop = new CancellationTokenSource();
        var stopped = Workbench.PretrainAsync(
            options, new Heard<TrainingProgress>(_ => stop.Cancel()), stop.Token);
        Throws<OperationCanceledException>(() => Tiny.Wait(stopped), "the stop");
        Expect.equal(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "live tensors after a stop");
        Tiny.Wait(Workbench.ResumeAsync(folder.Path)).Dispose();
        Expect.equal(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "live tensors after going on");
    }
}
