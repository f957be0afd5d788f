using System;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text.Json;

namespace AdvContrast.Torch.Binding;

/// <summary>What set-up recorded beside the bridge about the libtorch it was compiled against.</summary>
internal sealed record LibTorchRecord(string Path, string Found, string Fingerprint);

/// <summary>
/// Finds the bridge and makes sure that its libtorch is still the one it was compiled against.
/// </summary>
internal static partial class NativeLoader
{
    internal const string LibraryName = "advcontrast_torch";

    private const string FileName = "libadvcontrast_torch.so";
    private const string SetUp = "run: dotnet fsi build.fsx setup";

    private static nint loaded;

    internal static void Register() =>
        NativeLibrary.SetDllImportResolver(typeof(NativeLoader).Assembly, Resolve);

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? search)
    {
        if (name != LibraryName) return 0;
        if (loaded == 0)
        {
            SetEnvironment();
            loaded = Load(Folders());
            TakeAllProcessors();
        }
        return loaded;
    }

    /// <summary>
    /// What libraries beneath libtorch look at when they are loaded. What the user has set is not overruled.
    /// </summary>
    private static void SetEnvironment()
    {
        if (!OperatingSystem.IsLinux()) return;
        // OpenBLAS 0.3.21 takes Sapphire Rapids and later processors for one with SSE3 alone, and multiplies at a
        // fifth of their speed
        if (Avx512F.IsSupported) SetNative("OPENBLAS_CORETYPE", "SkylakeX");
        // UCX, beneath Debian 13's libtorch, else takes the signal that .NET makes a NullReferenceException of
        SetNative("UCX_HANDLE_ERRORS", "none");
    }

    // .NET's own environment is a copy that native code does not see
    private static void SetNative(string name, string value) => setenv(name, value, 0);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);

    /// <summary>
    /// libtorch's own choice may be one thread where there are more processors. Who has set OpenMP's threads is
    /// not overruled.
    /// </summary>
    private static unsafe void TakeAllProcessors()
    {
        if (!string.IsNullOrEmpty(Environment.GetEnvironmentVariable("OMP_NUM_THREADS"))) return;
        var threads = (delegate* unmanaged<int, int, int>)NativeLibrary.GetExport(loaded, "adv_threads");
        threads(0, Environment.ProcessorCount);
    }

    /// <summary>Where the bridge may lie: beside this assembly, then in ADVCONTRAST_NATIVE.</summary>
    private static IEnumerable<string> Folders()
    {
        yield return AppContext.BaseDirectory;
        var beside = Path.GetDirectoryName(typeof(NativeLoader).Assembly.Location);
        if (!string.IsNullOrEmpty(beside)) yield return beside;
        var named = Environment.GetEnvironmentVariable("ADVCONTRAST_NATIVE");
        if (!string.IsNullOrEmpty(named)) yield return named;
    }

    internal static nint Load(IEnumerable<string> folders)
    {
        foreach (var folder in folders)
        {
            var file = Path.Combine(folder, FileName);
            if (!File.Exists(file)) continue;
            var asked = Environment.GetEnvironmentVariable("ADVCONTRAST_LIBTORCH");
            if (Read(folder) is { } record) Verify(record, asked);
            try
            {
                return NativeLibrary.Load(file);
            }
            catch (DllNotFoundException e)
            {
                throw new LibTorchException(
                    $"No libtorch that fits the bridge {file} could be loaded; {SetUp}", e);
            }
        }
        throw new LibTorchException($"The bridge to libtorch ({FileName}) is not there; {SetUp}");
    }

    /// <summary>The record beside the bridge, or null where there is none.</summary>
    internal static LibTorchRecord? Read(string folder)
    {
        var file = Path.Combine(folder, "libtorch.json");
        if (!File.Exists(file)) return null;
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(file));
            string Field(string name) =>
                json.RootElement.TryGetProperty(name, out var value) ? value.GetString() ?? "" : "";
            return new LibTorchRecord(Field("path"), Field("found"), Field("fingerprint"));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new LibTorchException($"{file} is damaged; {SetUp}", e);
        }
    }

    /// <summary>The record beside the bridge that this process uses, or null.</summary>
    internal static LibTorchRecord? Current()
    {
        foreach (var folder in Folders())
            if (File.Exists(Path.Combine(folder, FileName))) return Read(folder);
        return null;
    }

    /// <summary>
    /// Size and time of change of libtorch's main library: cheap, and enough to notice an upgrade.
    /// </summary>
    internal static string? Fingerprint(string path)
    {
        foreach (var folder in new[] { path, Path.Combine(path, "lib") })
        {
            var file = new FileInfo(Path.Combine(folder, "libtorch_cpu.so"));
            if (!file.Exists) continue;
            // a link keeps its own time; what counts is the file behind it
            var target = (FileInfo?)file.ResolveLinkTarget(returnFinalTarget: true) ?? file;
            return $"{target.Length}-{new DateTimeOffset(target.LastWriteTimeUtc).ToUnixTimeSeconds()}";
        }
        return null;
    }

    internal static void Verify(LibTorchRecord record, string? asked)
    {
        if (record.Path == "") return;
        if (!string.IsNullOrEmpty(asked) && !SameFolder(asked, record.Path))
            throw new LibTorchException(
                $"ADVCONTRAST_LIBTORCH names {asked}, but set-up was made for {record.Path}; {SetUp}");
        if (!Directory.Exists(record.Path))
            throw new LibTorchException($"There is no libtorch any more at {record.Path}; {SetUp}");
        if (record.Fingerprint == "") return;
        if (Fingerprint(record.Path) != record.Fingerprint)
            throw new LibTorchException($"The libtorch at {record.Path} has changed since set-up; {SetUp}");
    }

    // a libtorch may be named by its root or by the folder of its libraries
    private static bool SameFolder(string asked, string recorded)
    {
        static string Full(string path) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)) + '/';
        static bool Within(string inner, string outer) =>
            Full(inner).StartsWith(Full(outer), StringComparison.Ordinal);
        return Within(asked, recorded) || Within(recorded, asked);
    }
}
